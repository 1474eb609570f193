/**
 * What a synchronous port exit costs: a real-mode guest reads a port 200,000 times in a loop and JavaScript answers.
 * Prints nanoseconds a round trip (median of seven runs); exits with 1 when that is above the promise of 3 µs.
 */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';

const PROMISE_NS = 3000;
const STRIDE = 8192;
const DATA = 4096;
const path = new URL('../../native/build/Release/lodge.node', import.meta.url).pathname;
if (!existsSync(path)) {
  console.log('skipped: lodge.node has not been built');
  process.exit(0);
}
const addon = createRequire(import.meta.url)(path);

// mov ecx, 200000; again: in al, 99h; dec ecx; jnz again; out 98h, al; hlt
const LOOPS = 200_000;
const code = [0x66, 0xb9, LOOPS & 255, (LOOPS >> 8) & 255, LOOPS >> 16, 0, 0xe4, 0x99, 0x66, 0x49, 0x75, 0xfa, 0xe6, 0x98, 0xf4];

function run() {
  return new Promise((resolve) => {
    const exitBuffer = new ArrayBuffer(STRIDE);
    const words = new Uint32Array(exitBuffer);
    const bytes = new Uint8Array(exitBuffer);
    let started = 0;
    let finished = 0;
    const serve = () => {
      let completed = -1;
      for (;;) {
        const vcpu = machine.serve(completed, 50);
        if (vcpu < 0) break;
        completed = vcpu;
        if (words[0] === 1) {
          started ||= performance.now();
          bytes[DATA] = 0x5a;
        } else {
          finished = performance.now();
        }
      }
      if (finished === 0) return;
      machine.destroy();
      resolve(((finished - started) * 1e6) / LOOPS);
    };
    const machine = addon.createMachine({ accelerator: 'software', tier: 'auto', cpus: 1, exitBuffer, onWake: serve });
    machine.mapRegion(machine.addRegion('ram', 1 << 20), 0, 0, 1 << 20);
    machine.memWrite(0x7c00, Uint8Array.from(code));
    const state = machine.getCpuState(0);
    state.segments.cs = { selector: 0, base: 0n, limit: 0xffff, attributes: 0x9b };
    state.rip = 0x7c00n;
    machine.setCpuState(0, state);
    machine.start();
    machine.resume();
  });
}

const results = [];
for (let i = 0; i < 7; i++) results.push(await run());
results.sort((a, b) => a - b);
const median = results[3];
console.log(`port exit: ${median.toFixed(0)} ns a round trip (${results[0].toFixed(0)} to ${results[6].toFixed(0)})`);
process.exitCode = median <= PROMISE_NS ? 0 : 1;
