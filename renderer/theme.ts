/** Lodge's look: spruce for what is alive and what can be pressed, quiet greens-in-grey for everything else. */
import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

const spruce: MantineColorsTuple = [
  '#e7f6f2',
  '#cdebe3',
  '#9fd8c9',
  '#6cc4ad',
  '#44b296',
  '#2ba787',
  '#1d9a7c',
  '#0f8469',
  '#067259',
  '#005c47',
];
const gray: MantineColorsTuple = [
  '#f7f9f8',
  '#eff2f1',
  '#e4e8e7',
  '#d6dcda',
  '#c2cac8',
  '#a0aaa7',
  '#77827f',
  '#4c5653',
  '#333b39',
  '#1e2523',
];
const dark: MantineColorsTuple = [
  '#dbe1df',
  '#b9c2bf',
  '#8b9693',
  '#65706d',
  '#3c4644',
  '#2b3432',
  '#202826',
  '#171d1c',
  '#111615',
  '#0b0f0e',
];

const sans =
  "'Inter Variable', Inter, 'Segoe UI Variable Text', 'Segoe UI', system-ui, -apple-system, BlinkMacSystemFont, Cantarell, Ubuntu, 'Noto Sans', Roboto, 'Helvetica Neue', sans-serif";
export const monospace =
  "'JetBrains Mono', 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', ui-monospace, monospace";

export const theme = createTheme({
  primaryColor: 'spruce',
  primaryShade: { light: 8, dark: 7 },
  colors: { spruce, gray, dark },
  white: '#ffffff',
  black: '#161c1a',
  fontFamily: sans,
  fontFamilyMonospace: monospace,
  headings: { fontFamily: sans, fontWeight: '650' },
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.1875rem' },
  lineHeights: { xs: '1.4', sm: '1.45', md: '1.5', lg: '1.5', xl: '1.4' },
  radius: { xs: '4px', sm: '6px', md: '8px', lg: '12px', xl: '18px' },
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  autoContrast: false,
  components: {
    Tooltip: {
      defaultProps: {
        openDelay: 350,
        withArrow: true,
        arrowSize: 6,
        fz: 'xs',
        multiline: true,
        maw: 320,
        events: { hover: true, focus: true, touch: true },
      },
    },
    Modal: {
      defaultProps: {
        centered: true,
        radius: 'lg',
        overlayProps: { backgroundOpacity: 0.45, blur: 2 },
        closeButtonProps: { 'aria-label': 'Close' },
        transitionProps: { duration: 120 },
      },
    },
    Menu: { defaultProps: { shadow: 'md', radius: 'md', withinPortal: true } },
    Button: { defaultProps: { fw: 550 } },
    TextInput: { defaultProps: { size: 'sm' } },
    NumberInput: { defaultProps: { size: 'sm' } },
    Select: { defaultProps: { size: 'sm', checkIconPosition: 'right' } },
    Textarea: { defaultProps: { size: 'sm' } },
  },
});

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {
    '--lodge-window': '#ffcf70',
  },
  light: {
    '--mantine-color-body': '#f5f7f6',
    '--mantine-color-text': '#1b2220',
    '--mantine-color-dimmed': '#606b68',
    '--mantine-color-default-border': '#dbe1df',
    '--lodge-surface': '#ffffff',
    '--lodge-surface-2': '#fafbfb',
    '--lodge-raised': '#ffffff',
    '--lodge-border': '#e1e6e4',
    '--lodge-hover': '#eef3f1',
    '--lodge-selected': '#e2f2ed',
    '--lodge-selected-border': '#0f8469',
    '--lodge-stage': '#1a201f',
    '--lodge-accent-text': '#06644f',
    '--lodge-green': '#2f9e6e',
    '--lodge-amber': '#d98a0b',
    '--lodge-red': '#cf3f36',
    '--lodge-shadow': '0 1px 2px rgb(20 40 34 / 6%), 0 6px 20px -8px rgb(20 40 34 / 12%)',
  },
  dark: {
    '--mantine-color-body': '#121716',
    '--mantine-color-text': '#dce2e0',
    '--mantine-color-dimmed': '#8f9a97',
    '--mantine-color-default-border': '#333d3b',
    '--mantine-color-default': '#1f2725',
    '--mantine-color-default-hover': '#283230',
    '--lodge-surface': '#191f1e',
    '--lodge-surface-2': '#161c1b',
    '--lodge-raised': '#1f2725',
    '--lodge-border': '#2a3331',
    '--lodge-hover': '#202827',
    '--lodge-selected': '#17352d',
    '--lodge-selected-border': '#2ba787',
    '--lodge-stage': '#0a0d0d',
    '--lodge-accent-text': '#63cdb2',
    '--lodge-green': '#3fb488',
    '--lodge-amber': '#e5a33a',
    '--lodge-red': '#e5645b',
    '--lodge-shadow': '0 1px 2px rgb(0 0 0 / 30%), 0 8px 24px -10px rgb(0 0 0 / 50%)',
  },
});
