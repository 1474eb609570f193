/** The registers of a drive on an IDE channel, ATA/ATAPI-7 vol. 1 §5. */
import { AtaStatus } from '../ata';

export const IDLE = AtaStatus.READY | AtaStatus.SEEK_COMPLETE;
/** Interrupt reason, in the count register of packet commands (ATA/ATAPI-7 vol. 1 §6.24.6). */
export const Reason = { COMMAND: 0x01, TO_HOST: 0x02 } as const;

/** The registers of one drive. The upper bytes are the previous contents of 48-bit commands. */
export class DriveState {
  features = 0;
  count = 0;
  low = 0;
  mid = 0;
  high = 0;
  device = 0;
  status = 0;
  error = 0;
}

/** What a packet command moves next. */
export function setPacketRegisters(state: DriveState, reason: number, bytes: number): void {
  state.count = reason;
  state.mid = bytes & 0xff;
  state.high = bytes >>> 8;
}
