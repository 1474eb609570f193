/** ESLint rule over boundaries.mjs: every import, re-export and dynamic import of a listed folder is checked. */
import { builtinModules } from 'node:module';
import { dirname, relative, resolve, sep } from 'node:path';
import { checkImport } from './boundaries.mjs';

const builtins = new Set(builtinModules);

const packageName = (specifier) => {
  if (specifier.startsWith('node:') || builtins.has(specifier)) return 'node';
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
};

export const boundaryRule = {
  meta: {
    type: 'problem',
    schema: [{ type: 'object', properties: { root: { type: 'string' } } }],
    messages: { forbidden: '{{reason}}' },
  },
  create(context) {
    const { root } = context.options[0];
    const from = relative(root, context.filename).split(sep).join('/');
    const check = (node, specifier, typeOnly) => {
      if (typeof specifier !== 'string') return;
      const bare = specifier.replace(/\?.*$/, '');
      // Style sheets and pictures are part of the module that names them.
      if (/\.(css|svg|png|woff2)$/.test(bare)) return;
      const target = bare.startsWith('.')
        ? {
            file: relative(root, resolve(dirname(context.filename), bare))
              .split(sep)
              .join('/'),
          }
        : { package: packageName(bare) };
      const reason = checkImport(from, target, typeOnly);
      if (reason) context.report({ node, messageId: 'forbidden', data: { reason } });
    };
    const typesOnly = (node, list) => node.length > 0 && node.every((s) => s[list] === 'type');
    return {
      ImportDeclaration: (node) =>
        check(node, node.source.value, node.importKind === 'type' || typesOnly(node.specifiers, 'importKind')),
      ExportNamedDeclaration: (node) =>
        node.source && check(node, node.source.value, node.exportKind === 'type' || typesOnly(node.specifiers, 'exportKind')),
      ExportAllDeclaration: (node) => check(node, node.source.value, node.exportKind === 'type'),
      ImportExpression: (node) => check(node, node.source.value, false),
      TSImportType: (node) => check(node, node.source?.value ?? node.argument?.literal?.value, true),
    };
  },
};
