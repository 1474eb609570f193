/** What keyboards and pointers of the host side drive. */

export interface KeyboardSink {
  /** KeyboardEvent.code of a physical key; unknown codes are ignored. */
  key(code: string, down: boolean): void;
}

export interface PointerSink {
  /** Guest pixels, positive right and down; buttons: bit 0 left, 1 right, 2 middle; wheel in detents, positive towards the user. */
  relative(dx: number, dy: number, buttons: number, wheel: number): void;
  /** 0–65535 across the screen; ignored unless `absolute`. */
  pointer(x: number, y: number, buttons: number, wheel: number): void;
  /** The guest has a driver that takes absolute positions. */
  readonly absolute: boolean;
}
