/** Hash routes: they work from file:// and behind any server, and a link to a machine can be shared between tabs. */
export type Route =
  | { readonly view: 'library' }
  | { readonly view: 'new'; readonly image?: string }
  | { readonly view: 'vm'; readonly id: string }
  | { readonly view: 'preferences' };

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  const parts = path.split('/').filter((p) => p !== '');
  if (parts[0] === 'vm' && parts[1] !== undefined) return { view: 'vm', id: safeDecode(parts[1]) };
  if (parts[0] === 'new') {
    const image = new URLSearchParams(query).get('image');
    return image ? { view: 'new', image } : { view: 'new' };
  }
  if (parts[0] === 'preferences') return { view: 'preferences' };
  return { view: 'library' };
}

export function formatRoute(route: Route): string {
  switch (route.view) {
    case 'library':
      return '#/';
    case 'new':
      return route.image === undefined ? '#/new' : `#/new?${new URLSearchParams({ image: route.image }).toString()}`;
    case 'vm':
      return `#/vm/${encodeURIComponent(route.id)}`;
    case 'preferences':
      return '#/preferences';
  }
}

/** A hand-typed `%` must not take the page down. */
function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
