/** The contract's nouns under the names the views use; views import from here and never from a transport. */
import type { LodgeBridge } from '../../preload/contract';

export type {
  Boot,
  BrokenVm,
  CpuModel,
  CrashedCpu,
  Disk,
  DiskBus,
  DiskCheck,
  DiskFormat,
  DiskInfo,
  DiskKind,
  DiskVariant,
  EngineInfo,
  Host,
  ImageInfo,
  Input,
  Job,
  LodgeErrorData,
  Output,
  Preferences,
  StopReason,
  Vm,
  VmConfig,
  VmDefinition,
  VmId,
  VmState,
  VmStats,
} from '../../preload/contract';
export {
  CODE_CACHE_MIB,
  CPU_MODELS,
  CPUS_MAX,
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
  LodgeError,
  MEMORY_MAX_MIB,
  MEMORY_MIN_MIB,
} from '../../preload/contract';

/** What a file picker is asked for; the native dialog and the file browser filter by it. */
export type FileKind = Parameters<LodgeBridge['chooseFile']>[0]['kind'];
