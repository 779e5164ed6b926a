/** Imported before an uploading program of a test: it dies, as by `kill -9`, when it begins part KILLED_AT_PART, whatever the machine's speed. */
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';

const send = http.request;
let parts = 0;

http.request = (url, options, ...rest) => {
  if (options.method === 'PUT' && ++parts === Number(process.env.KILLED_AT_PART)) process.kill(process.pid, 'SIGKILL');
  return send(url, options, ...rest);
};
syncBuiltinESMExports();
