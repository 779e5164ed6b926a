/** `temper get … --lineage`: what a resource was made from, and what stands on it. */
import { callApi, type Resource } from './client.js';
import { formatTime, idOf, plainText } from './format.js';
import { print, printJson, type Session } from './session.js';

interface Node {
  name: string;
  kind: string;
  relation: string;
  of: string;
  deleted?: boolean;
  deletedBy?: string;
  deleteTime?: string;
}
interface Graph {
  name: string;
  upstream: Node[];
  downstream: Node[];
  truncated: boolean;
}

export async function showLineage(session: Session, path: string): Promise<void> {
  const graph = await callApi<Graph & Resource>(session.connection, { method: 'GET', path: `${path}:lineage` });
  session.status.clear();
  if (session.json) return printJson(graph);
  if (session.quiet) return [...graph.upstream, ...graph.downstream].forEach(({ name }) => print(name));
  print(describeGraph(graph));
}

export function describeGraph({ name, upstream, downstream, truncated }: Graph): string {
  const part = (title: string, nodes: Node[]) => (nodes.length === 0 ? '' : `${title}\n${tree(name, nodes, 1).join('\n')}`);
  return [
    plainText(name),
    part('Made from', upstream) || 'Made from nothing that is recorded.',
    part('What stands on it', downstream) || 'Nothing stands on it.',
    truncated ? 'There is more than is shown.' : '',
  ]
    .filter(Boolean)
    .join('\n\n');
}

function tree(of: string, nodes: Node[], depth: number): string[] {
  return nodes
    .filter((node) => node.of === of)
    .flatMap((node) => {
      const gone = node.deleted
        ? ` (deleted${node.deleteTime ? ` ${formatTime(node.deleteTime)} by ${plainText(node.deletedBy)}` : ''})`
        : '';
      return [
        `${'  '.repeat(depth)}${node.relation}: ${idOf(node.name)}${node.kind === 'EXPORT' ? ' (export)' : ''}${gone}`,
        ...tree(node.name, nodes, depth + 1),
      ];
    });
}
