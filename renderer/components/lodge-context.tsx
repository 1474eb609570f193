import { createContext, use, useEffect, useState, type ReactNode } from 'react';
import { useStore } from 'zustand';
import type { Host, Preferences, Vm } from '../model/types';
import { parseRoute, formatRoute, type Route } from '../model/route';
import type { Lodge } from '../stores';

const Context = createContext<Lodge | null>(null);

export const LodgeProvider = ({ lodge, children }: { lodge: Lodge; children: ReactNode }) => (
  <Context value={lodge}>{children}</Context>
);

export function useLodge(): Lodge {
  const lodge = use(Context);
  if (lodge === null) throw new Error('useLodge outside of LodgeProvider');
  return lodge;
}

export const useVm = (id: string): Vm | undefined => useStore(useLodge().vms, (s) => s.byId[id]);

/** Views exist only once a snapshot has arrived (see App), and with it the host and the preferences. */
export function useHost(): Host {
  const host = useStore(useLodge().host, (s) => s.host);
  if (host === null) throw new Error('no host before the first snapshot');
  return host;
}

export function usePreferences(): Preferences {
  const preferences = useStore(useLodge().preferences, (s) => s.preferences);
  if (preferences === null) throw new Error('no preferences before the first snapshot');
  return preferences;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const update = (): void => setRoute(parseRoute(location.hash));
    window.addEventListener('hashchange', update);
    return () => window.removeEventListener('hashchange', update);
  }, []);
  return route;
}

export const navigate = (route: Route): void => {
  location.hash = formatRoute(route);
};
