/** The application menu: of the library's window, and the whole application's on macOS. */
import { Menu, app, type MenuItemConstructorOptions } from 'electron';

export interface MenuActions {
  newMachine(): void;
  openImage(): void;
  preferences(): void;
  library(): void;
  about(): void;
}

export function buildMenu(actions: MenuActions, development: boolean): Menu {
  const mac = process.platform === 'darwin';
  const preferences: MenuItemConstructorOptions = {
    label: mac ? 'Settings…' : 'Preferences',
    accelerator: 'CmdOrCtrl+,',
    click: actions.preferences,
  };
  const template: MenuItemConstructorOptions[] = [
    ...(mac
      ? [
          {
            label: app.name,
            submenu: [
              { label: `About ${app.name}`, click: actions.about },
              { type: 'separator' },
              preferences,
              { type: 'separator' },
              { role: 'hide' },
              { role: 'hideOthers' },
              { role: 'unhide' },
              { type: 'separator' },
              { role: 'quit' },
            ],
          } satisfies MenuItemConstructorOptions,
        ]
      : []),
    {
      label: '&File',
      submenu: [
        { label: '&New machine…', accelerator: 'CmdOrCtrl+N', click: actions.newMachine },
        { label: 'New machine from &image…', accelerator: 'CmdOrCtrl+O', click: actions.openImage },
        { type: 'separator' },
        ...(mac ? [{ role: 'close' } as const] : [preferences, { type: 'separator' } as const, { role: 'quit' } as const]),
      ],
    },
    { role: 'editMenu' },
    {
      label: '&View',
      submenu: [
        { label: '&Library', accelerator: 'CmdOrCtrl+L', click: actions.library },
        { type: 'separator' },
        { role: 'resetZoom' },
        { role: 'zoomIn' },
        { role: 'zoomOut' },
        { role: 'togglefullscreen' },
        ...(development
          ? [{ type: 'separator' } as const, { role: 'reload' } as const, { role: 'toggleDevTools' } as const]
          : []),
      ],
    },
    { role: 'windowMenu' },
    ...(mac
      ? []
      : [
          {
            label: '&Help',
            submenu: [{ label: `&About ${app.name}`, click: actions.about }],
          } satisfies MenuItemConstructorOptions,
        ]),
  ];
  return Menu.buildFromTemplate(template);
}
