/** A minute of CPU use; 100 % of one processor is the full height unless the machine used more. */
export function Sparkline({
  values,
  width = 64,
  height = 18,
  points = 60,
}: {
  values: readonly number[];
  width?: number;
  height?: number;
  points?: number;
}) {
  const top = Math.max(100, ...values);
  const x = (i: number): number => width - ((values.length - 1 - i) * width) / (points - 1);
  const y = (v: number): number => height - 1 - (Math.max(0, v) / top) * (height - 2);
  const line = values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  return (
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden style={{ display: 'block' }}>
      <line x1={0} x2={width} y1={height - 0.5} y2={height - 0.5} stroke="currentColor" strokeOpacity={0.18} />
      {values.length > 1 && (
        <>
          <polygon
            points={`${x(0).toFixed(1)},${height} ${line} ${width},${height}`}
            fill="var(--lodge-green)"
            fillOpacity={0.18}
          />
          <polyline points={line} fill="none" stroke="var(--lodge-green)" strokeWidth={1.25} strokeLinejoin="round" />
        </>
      )}
    </svg>
  );
}
