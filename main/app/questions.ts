/** What Lodge asks before a machine loses its window or its power. */
import { BrowserWindow, dialog, type MessageBoxOptions } from 'electron';
import type { Preferences, Vm } from '../../preload/contract';

export type CloseAction = Exclude<Preferences['closeAction'], 'ask'>;

const ask = (window: BrowserWindow | undefined, options: MessageBoxOptions): Promise<Electron.MessageBoxReturnValue> =>
  window && !window.isDestroyed() ? dialog.showMessageBox(window, options) : dialog.showMessageBox(options);

/** undefined: cancelled. */
export async function askCloseAction(
  vm: Vm,
  window: BrowserWindow,
): Promise<{ action: CloseAction; remember: boolean } | undefined> {
  const actions: (CloseAction | undefined)[] = ['keepRunning', 'shutdown', 'powerOff', undefined];
  // A paused guest cannot answer a request to shut down.
  const offered = vm.state === 'running' ? actions : actions.filter((action) => action !== 'shutdown');
  const words: Record<CloseAction, string> = { keepRunning: 'Keep Running', shutdown: 'Shut Down', powerOff: 'Power Off' };
  const { response, checkboxChecked } = await ask(window, {
    type: 'question',
    title: 'Close window',
    message: `“${vm.definition.name}” is still running.`,
    detail: 'It can go on without its window. Shutting down asks its operating system; powering off is like pulling the plug.',
    buttons: offered.map((action) => (action === undefined ? 'Cancel' : words[action])),
    defaultId: 0,
    cancelId: offered.length - 1,
    checkboxLabel: 'Do the same next time',
    noLink: true,
  });
  const action = offered[response];
  return action === undefined ? undefined : { action, remember: checkboxChecked };
}

export type QuitAction = 'shutdown' | 'powerOff';

export async function askQuit(running: readonly Vm[], window: BrowserWindow | undefined): Promise<QuitAction | undefined> {
  const names = running.map((vm) => `“${vm.definition.name}”`);
  const { response } = await ask(window, {
    type: 'question',
    title: 'Quit Lodge',
    message: running.length === 1 ? `${names[0]} is still running.` : `${running.length} machines are still running.`,
    detail:
      (running.length === 1 ? '' : `${names.slice(0, 8).join(', ')}${names.length > 8 ? '…' : ''}\n`) +
      'Shutting down asks the guests’ operating systems and waits for them; powering off is like pulling the plug.',
    buttons: ['Shut Down and Quit', 'Power Off and Quit', 'Cancel'],
    defaultId: 0,
    cancelId: 2,
    noLink: true,
  });
  return response === 0 ? 'shutdown' : response === 1 ? 'powerOff' : undefined;
}

export async function askStillRunning(
  running: readonly Vm[],
  window: BrowserWindow | undefined,
): Promise<'wait' | 'powerOff' | 'cancel'> {
  const { response } = await ask(window, {
    type: 'question',
    title: 'Quit Lodge',
    message: `${running.map((vm) => `“${vm.definition.name}”`).join(', ')} did not shut down yet.`,
    detail: 'Some guests take their time or ask a question of their own on the screen.',
    buttons: ['Wait Longer', 'Power Off and Quit', 'Do Not Quit'],
    defaultId: 0,
    cancelId: 2,
    noLink: true,
  });
  return response === 0 ? 'wait' : response === 1 ? 'powerOff' : 'cancel';
}
