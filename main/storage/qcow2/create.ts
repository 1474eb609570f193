/** A new qcow2 image of version 3: header, refcount table, one refcount block, L1 table. It grows as the guest writes. */
import type { HostFile } from '../core/host-file';
import { setU64be, viewOf } from '../core/meta-cache';
import { QCOW2_MAGIC } from './header';

const CLUSTER_BITS = 16;
const CLUSTER = 1 << CLUSTER_BITS;

export async function writeNewQcow2(file: HostFile, bytes: number, backing?: { name: string; format: string }): Promise<void> {
  const l1Entries = Math.ceil(bytes / (CLUSTER * (CLUSTER / 8)));
  const l1Clusters = Math.ceil((l1Entries * 8) / CLUSTER);
  const image = new Uint8Array((3 + l1Clusters) * CLUSTER);
  const view = viewOf(image);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, 3);
  view.setUint32(20, CLUSTER_BITS);
  setU64be(view, 24, bytes);
  view.setUint32(36, l1Entries);
  setU64be(view, 40, 3 * CLUSTER);
  setU64be(view, 48, CLUSTER);
  view.setUint32(56, 1);
  view.setUint32(96, 4);
  view.setUint32(100, 104);
  if (backing) {
    const format = new TextEncoder().encode(backing.format);
    const name = new TextEncoder().encode(backing.name);
    view.setUint32(104, 0xe2792aca);
    view.setUint32(108, format.length);
    image.set(format, 112);
    const nameAt = 112 + 8 + 8;
    setU64be(view, 8, nameAt);
    view.setUint32(16, name.length);
    image.set(name, nameAt);
  }
  setU64be(view, CLUSTER, 2 * CLUSTER);
  for (let c = 0; c < 3 + l1Clusters; c++) view.setUint16(2 * CLUSTER + c * 2, 1);
  await file.write(0, image);
}
