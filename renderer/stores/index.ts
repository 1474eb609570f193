/** All stores of a page, made once by the composition root; tests make their own around a fake transport. */
import { Api, Feed, type Transport } from '../api';
import type { OsEntry } from '../model/catalogue';
import { createConnectionStore } from './connection';
import { createHostStore } from './host';
import { createJobStore } from './jobs';
import { createKeptStore } from './kept';
import { createLibraryStore } from './library';
import { createNoticeStore } from './notices';
import { createPreferencesStore } from './preferences';
import { createThumbnailStore } from './thumbnails';
import { createUploadStore } from './uploads';
import { ViewerSession } from './viewer';
import { createVmStore } from './vms';

export function createLodge(transport: Transport, catalogue: readonly OsEntry[]) {
  const api = new Api(transport);
  const connection = createConnectionStore();
  const notices = createNoticeStore();
  const host = createHostStore();
  const preferences = createPreferencesStore(api, notices);
  const vms = createVmStore(api, notices);
  const jobs = createJobStore(api, notices);
  const kept = createKeptStore();
  const library = createLibraryStore();
  const thumbnails = createThumbnailStore(api);
  const uploads = createUploadStore(transport);
  const unlink = transport.onLink((link) => connection.setState({ link }));
  const feed = new Feed(api, {
    onSnapshot: (s) => {
      vms.getState().replace(s.vms, s.broken);
      host.setState({ host: s.host });
      preferences.setState({ preferences: s.preferences });
      notices.getState().setStanding(s.notices);
      jobs.getState().replace(s.jobs ?? []);
      connection.setState({ ready: true, error: null });
    },
    onEvent: (e) => {
      switch (e.type) {
        case 'vm':
          vms.getState().put(e.vm);
          break;
        case 'vmRemoved':
          vms.getState().drop(e.id);
          break;
        case 'host':
          host.setState({ host: e.host });
          break;
        case 'preferences':
          preferences.setState({ preferences: e.preferences });
          break;
        case 'job':
          jobs.getState().put(e.job);
          break;
        case 'notice':
          notices.getState().say(e.level, e.message);
          break;
      }
    },
    onError: (error) => connection.getState().failed(error),
  });
  return {
    api,
    catalogue,
    platform: transport.platform,
    kind: transport.kind,
    openVmWindow: (id: string) => transport.openVmWindow(id),
    chooseFile: transport.chooseFile,
    connection,
    notices,
    host,
    preferences,
    vms,
    jobs,
    kept,
    library,
    thumbnails,
    uploads,
    openViewer: (vmId: string) => new ViewerSession(transport, vmId),
    dispose: () => {
      unlink();
      feed.dispose();
      kept.dispose();
      transport.dispose();
    },
  };
}

export type Lodge = ReturnType<typeof createLodge>;
export type { TrackedJob } from './jobs';
export { scaleKey } from './kept';
export type { ViewerSession, ViewerState } from './viewer';
export type { Notice } from './notices';
export type { FrameRect, LinkState } from '../api';
