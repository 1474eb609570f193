/** Connects as a viewer time and again (arguments: port, how often), says a word once it is answered, and exits with 1 when one goes unheard. */
import { connect } from 'node:net';

const [port, count] = process.argv.slice(2).map(Number);
for (let i = 0; i < count; i++) {
  const heard = await new Promise((done) => {
    const socket = connect(port, '127.0.0.1').setEncoding('latin1').setTimeout(5000);
    socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.on('data', (text) => {
      if (text.includes('101')) socket.write('attach');
      if (!text.includes('attach')) return;
      done(true);
      socket.destroy();
    });
    for (const end of ['timeout', 'error', 'close']) socket.on(end, () => done(false));
  });
  if (!heard) {
    process.stdout.write(`viewer ${i} was not heard\n`);
    process.exit(1);
  }
}
