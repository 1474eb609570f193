import { findOs, type OsEntry } from './catalogue';
import { STATE_LABEL } from './actions';
import type { Vm } from './types';

/** Machines that match every word of the search, in name, OS, state or notes; by name, as people count ("VM 9" before "VM 10"). */
export function searchVms(vms: readonly Vm[], search: string, catalogue: readonly OsEntry[]): Vm[] {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== '');
  return vms
    .filter((vm) => {
      const { name, os, notes } = vm.definition;
      const text = `${name} ${findOs(catalogue, os).name} ${STATE_LABEL[vm.state]} ${notes}`.toLowerCase();
      return words.every((w) => text.includes(w));
    })
    .sort((a, b) => a.definition.name.localeCompare(b.definition.name, undefined, { numeric: true, sensitivity: 'base' }));
}

/** Where the selection goes for a key, in a list (one column) or a grid; null: the key is not for moving. */
export function moveSelection(count: number, index: number, columns: number, key: string): number | null {
  if (count === 0) return null;
  const clamp = (i: number): number => Math.min(count - 1, Math.max(0, i));
  if (index < 0)
    return ['ArrowDown', 'ArrowUp', 'ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(key)
      ? key === 'End'
        ? count - 1
        : 0
      : null;
  switch (key) {
    case 'ArrowDown':
      return index + columns < count ? index + columns : index;
    case 'ArrowUp':
      return index - columns >= 0 ? index - columns : index;
    case 'ArrowRight':
      return columns > 1 ? clamp(index + 1) : null;
    case 'ArrowLeft':
      return columns > 1 ? clamp(index - 1) : null;
    case 'Home':
      return 0;
    case 'End':
      return count - 1;
    default:
      return null;
  }
}
