import type { Series } from '../model/performance';
import classes from './line-chart.module.css';

const WIDTH = 600;
const HEIGHT = 120;

/** A minute and a half of one measure, newest at the right. The lines keep their strength however wide the chart is. */
export function LineChart({
  title,
  now,
  series,
  top,
  topLabel,
  points,
}: {
  title: string;
  /** The newest values, in words. */
  now: string;
  series: readonly Series[];
  /** Value at the upper edge, and how it is written there. */
  top: number;
  topLabel: string;
  points: number;
}) {
  const legend = series.length > 1 && series.length <= 8;
  return (
    <figure className={classes.chart} aria-label={`${title}: ${now}`}>
      <figcaption className={classes.head}>
        <span className={classes.title}>{title}</span>
        <span className={`${classes.now} tabular`}>{now}</span>
      </figcaption>
      <div className={classes.plot}>
        <span className={`${classes.top} tabular`} aria-hidden>
          {topLabel}
        </span>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden>
          {[0.25, 0.5, 0.75].map((part) => (
            <line key={part} className={classes.grid} x1={0} x2={WIDTH} y1={HEIGHT * part} y2={HEIGHT * part} />
          ))}
          {series.map(({ label, values }, i) => {
            if (values.length === 0) return null;
            const x = (n: number): number => WIDTH - ((values.length - 1 - n) * WIDTH) / (points - 1);
            const y = (value: number): number => HEIGHT - (Math.min(Math.max(0, value), top) / top) * (HEIGHT - 2) - 1;
            const line = values.map((value, n) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
            return (
              <g key={label} data-tone={i % 4}>
                {series.length === 1 && (
                  <polygon className={classes.area} points={`${x(0).toFixed(1)},${HEIGHT} ${line} ${WIDTH},${HEIGHT}`} />
                )}
                <polyline className={classes.line} points={line} />
              </g>
            );
          })}
        </svg>
      </div>
      {legend && (
        <div className={classes.legend}>
          {series.map(({ label }, i) => (
            <span key={label} data-tone={i % 4}>
              {label}
            </span>
          ))}
        </div>
      )}
    </figure>
  );
}
