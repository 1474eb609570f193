/** The app on the mock: `?scenario=full|empty|first&theme=…&view=…`. */
import '../model/zod-setup';
import '@mantine/core/styles.css';
import '@mantine/notifications/styles.css';
import '../styles.css';
import { createRoot } from 'react-dom/client';
import { preferencesSchema } from '../../preload/contract';
import { App } from '../app';
import { catalogue } from '../model/os-catalogue';
import { createLodge } from '../stores';
import { MockTransport, type Scenario } from './mock-transport';

const query = new URLSearchParams(location.search);
const transport = new MockTransport((query.get('scenario') ?? 'full') as Scenario, {
  theme: preferencesSchema.shape.theme.catch('light').parse(query.get('theme')),
  libraryView: preferencesSchema.shape.libraryView.catch('list').parse(query.get('view')),
});
createRoot(document.getElementById('root')!).render(<App lodge={createLodge(transport, catalogue)} />);
