// Lists the C++ sources of one target for binding.gyp, so that a new file needs no entry there.
const { readdirSync } = require('node:fs');
const { join } = require('node:path');

const wanted = {
  engine: (file) => !file.endsWith('_test.cpp') && !/^(addon|testing|x86\/fp)\//.test(file),
  fp: (file) => file.startsWith('x86/fp/') && !file.endsWith('_test.cpp'),
  addon: (file) => file.startsWith('addon/') && !file.endsWith('_test.cpp'),
  tests: (file) => file.endsWith('_test.cpp') || file.startsWith('testing/'),
};

function* walk(directory) {
  for (const entry of readdirSync(join(__dirname, directory), { withFileTypes: true })) {
    const path = directory === '' ? entry.name : `${directory}/${entry.name}`;
    if (entry.isDirectory()) {
      if (path !== 'build' && entry.name !== 'node_modules') yield* walk(path);
    } else if (entry.name.endsWith('.cpp')) {
      yield path;
    }
  }
}

const filter = wanted[process.argv[2]];
process.stdout.write([...walk('')].filter(filter).sort().join('\n') + '\n');
