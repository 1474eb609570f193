/** Composition root of the page: picks the transport, makes the stores, mounts the app. */
import './model/zod-setup';
import '@fontsource-variable/inter/wght.css';
import '@mantine/core/styles.css';
import '@mantine/notifications/styles.css';
import './styles.css';
import { createRoot } from 'react-dom/client';
import { electronTransport } from './api/electron-transport';
import { websocketTransport } from './api/websocket-transport';
import { App } from './app';
import { catalogue } from './model/os-catalogue';
import { createLodge } from './stores';

const transport = window.lodge !== undefined ? electronTransport(window.lodge) : websocketTransport();
createRoot(document.getElementById('root')!).render(<App lodge={createLodge(transport, catalogue)} />);
