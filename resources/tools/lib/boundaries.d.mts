export interface BoundaryElement {
  name: string;
  path: string;
  may: string[];
  types?: string[];
  packages: string[] | 'ui';
}
export const ELEMENTS: BoundaryElement[];
export function elementOf(file: string): BoundaryElement | undefined;
export function checkImport(from: string, target: { file: string } | { package: string }, typeOnly: boolean): string | undefined;
