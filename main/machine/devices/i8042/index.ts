export * from './controller';
export { parseKeys, type KeyEvent } from './keys';
export type { KeyboardLeds } from './keyboard';
