/** Writes what ran, failed and was skipped, with the reasons, to the file $LODGE_TEST_RESULTS. */
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { ROOT } from './common.mjs';

export default class SummaryReporter {
  onTestRunEnd(modules, errors) {
    const result = { passed: 0, failed: errors.map((error) => `outside a test: ${error.message}`), skipped: [] };
    for (const module of modules) {
      const file = relative(ROOT, module.moduleId);
      let ran = 0;
      for (const test of module.children.allTests()) {
        ran++;
        const outcome = test.result();
        const name = `${file} › ${test.fullName}`;
        if (outcome.state === 'passed') result.passed++;
        else if (outcome.state === 'failed') result.failed.push(name);
        else result.skipped.push({ name, reason: outcome.note ?? 'no reason given' });
      }
      // A file that cannot be loaded has no tests, but is a failure all the same.
      if (module.state() === 'failed' && (ran === 0 || module.errors().length > 0))
        result.failed.push(`${file}: ${module.errors()[0]?.message ?? 'failed'}`);
    }
    if (process.env.LODGE_TEST_RESULTS) writeFileSync(process.env.LODGE_TEST_RESULTS, JSON.stringify(result));
  }
}
