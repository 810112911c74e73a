// The official TypeScript SDK as a client: typescript.mjs FOLDER PACKAGE URL PROGRAM, with the token in
// AGENT_RELAY_TOKEN. FOLDER has `node_modules` with PACKAGE in it, `sdk` (version 1) or `client` (version 2). For each
// version of the protocol that it speaks, over HTTP and by PROGRAM over standard input and output, one line of JSON
// tells what came of a conversation.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, name, url, program] = process.argv.slice(2);
const require = createRequire(`${folder}/node_modules/`);
const load = async (module) => import(pathToFileURL(require.resolve(module)).href);

const isFirst = name === 'sdk';
const handshakes = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'];
const { Client } = await load(isFirst ? '@modelcontextprotocol/sdk/client/index.js' : '@modelcontextprotocol/client');
const { StreamableHTTPClientTransport } =
  isFirst ? await load('@modelcontextprotocol/sdk/client/streamableHttp.js') : await load('@modelcontextprotocol/client');
const { StdioClientTransport } =
  await load(isFirst ? '@modelcontextprotocol/sdk/client/stdio.js' : '@modelcontextprotocol/client/stdio');

const environment = {};
for (const variable of ['HOME', 'PATH', 'AGENT_RELAY_URL', 'AGENT_RELAY_TOKEN']) {
  environment[variable] = process.env[variable];
}

function transportTo(kind) {
  if (kind === 'stdio') return new StdioClientTransport({ command: program, args: ['mcp'], env: environment });
  const headers = { Authorization: `Bearer ${process.env.AGENT_RELAY_TOKEN}` };
  return new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
}

function clientOf(version, transport) {
  const about = { name: 'test', version: '1' };
  if (isFirst) {
    // Version 1 always asks for its newest: another is asked for in its place.
    const send = transport.send.bind(transport);
    transport.send = (message, options) => {
      if (message.method === 'initialize') message.params.protocolVersion = version;
      return send(message, options);
    };
    return new Client(about);
  }
  if (version === 'auto') return new Client(about, { versionNegotiation: { mode: 'auto' } });
  if (handshakes.includes(version)) return new Client(about, { supportedProtocolVersions: [version] });
  return new Client(about, { versionNegotiation: { mode: { pin: version } } });
}

async function converse(kind, version) {
  const transport = transportTo(kind);
  const client = clientOf(version, transport);
  let agreed;
  const setVersion = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (chosen) => {
    agreed = chosen;
    setVersion?.(chosen);
  };
  await client.connect(transport);
  agreed = client.getNegotiatedProtocolVersion?.() ?? agreed;
  const found = { agreed, server: client.getServerVersion()?.name ?? null };
  found.tools = (await client.listTools()).tools.map((tool) => tool.name);
  for (const [key, tool, args] of [
    ['whoami', 'whoami', {}],
    ['sent', 'send', { to: 'sdk', body: 'by an SDK' }],
    ['inbox', 'inbox', {}],
    ['refused', 'read', { id: 999999 }],
  ]) {
    const result = await client.callTool({ name: tool, arguments: args });
    found[key] = { isError: result.isError, text: result.content[0].text };
  }
  found.unknown = await client.callTool({ name: 'nonsense', arguments: {} }).then(() => null, (error) => `${error.message}`);
  await client.close();
  return found;
}

const versions = isFirst ? handshakes : [...handshakes, '2026-07-28', 'auto'];
for (const transport of ['http', 'stdio']) {
  for (const asked of versions) {
    console.log(JSON.stringify({ transport, asked, ...(await converse(transport, asked)) }));
  }
}
process.exit(0);
