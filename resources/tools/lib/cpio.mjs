/** A minimal writer of cpio archives in the "newc" format (the Linux initramfs buffer format). */
const ALIGN = 4;
const padded = (bytes) => Math.ceil(bytes / ALIGN) * ALIGN;

function entry(index, name, mode, data, { major = 0, minor = 0 } = {}) {
  const path = Buffer.from(`${name}\0`);
  const hex = (value) => value.toString(16).toUpperCase().padStart(8, '0');
  // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [index, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, path.length, 0];
  const header = Buffer.from(`070701${fields.map(hex).join('')}`);
  const head = Buffer.alloc(padded(header.length + path.length));
  header.copy(head);
  path.copy(head, header.length);
  const body = Buffer.alloc(padded(data.length));
  data.copy(body);
  return Buffer.concat([head, body]);
}

/**
 * @param {{ name: string, kind: 'folder' | 'file' | 'link' | 'device', mode?: number, data?: Buffer | string, major?: number, minor?: number }[]} items
 */
export function cpio(items) {
  const types = { folder: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 };
  const all = items.map((item, i) =>
    entry(i + 1, item.name, types[item.kind] | (item.mode ?? 0o755), Buffer.from(item.data ?? ''), item),
  );
  return Buffer.concat([...all, entry(0, 'TRAILER!!!', 0, Buffer.alloc(0))]);
}
