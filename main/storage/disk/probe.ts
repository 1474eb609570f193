/** Which format an image has, from its content alone; a name's ending says nothing. */
import type { DiskFormat } from '../../../preload/contract';
import type { HostFile } from '../core/host-file';
import { viewOf } from '../core/meta-cache';
import { QCOW2_MAGIC } from '../qcow2/header';
import { VDI_SIGNATURE } from '../vdi/vdi';
import { parseVhdFooter, VHD_FOOTER_BYTES } from '../vhd/vhd';

export async function probeFormat(file: HostFile): Promise<DiskFormat> {
  const head = await file.bytes(0, 512);
  const text = Buffer.from(head).toString('latin1');
  if (viewOf(head).getUint32(0) === QCOW2_MAGIC) return 'qcow2';
  if (text.startsWith('vhdxfile')) return 'vhdx';
  if (text.startsWith('KDMV') || /^\s*# *Disk DescriptorFile/i.test(text)) return 'vmdk';
  if (viewOf(head).getUint32(0x40, true) === VDI_SIGNATURE) return 'vdi';
  if (text.startsWith('conectix')) return 'vhd';
  const last = file.size - VHD_FOOTER_BYTES;
  if (last > 0) {
    const footer = parseVhdFooter(await file.bytes(last, VHD_FOOTER_BYTES));
    if (footer.ok && footer.value.type === 'fixed' && footer.value.bytes <= last) return 'vhd';
  }
  return 'raw';
}
