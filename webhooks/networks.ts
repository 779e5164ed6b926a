/**
 * Which addresses may be called. A webhook's URL is a user's text, and the worker that calls it stands inside the deployment's
 * network: only public addresses are called, and those that the deployment lists itself (TEMPER_WEBHOOK_NETWORKS).
 */
import { BlockList, isIP, isIPv4 } from 'node:net';

/** IANA's special-purpose registries: what is not the public internet. */
const SPECIAL_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** Only global unicast is public, and not all of it. */
const PUBLIC_IPV6 = ['2000::/3'];
const SPECIAL_IPV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

const special = blockList([...SPECIAL_IPV4, ...SPECIAL_IPV6]);
const globalUnicast = blockList(PUBLIC_IPV6);

export interface Networks {
  /** Lies in a network that the deployment lists. */
  isOwn(address: string): boolean;
  /** Is public, or lies in such a network. */
  isAllowed(address: string): boolean;
}

/** @param own  networks as ADDRESS/BITS, parted by commas. @throws Error for what is none */
export function readNetworks(own: string): Networks {
  const list = blockList(own.split(',').flatMap((part) => part.trim() || []));
  const isOwn = (address: string): boolean => matches(list, address);
  return { isOwn, isAllowed: (address) => isOwn(address) || isPublic(address) };
}

function isPublic(address: string): boolean {
  if (isIP(address) === 0) return false;
  if (isIPv4(address)) return !matches(special, address);
  return matches(globalUnicast, address) && !matches(special, address);
}

/** In a list of IPv4 networks, Node finds IPv4 addresses in IPv6's clothes, too (`::ffff:10.0.0.1`). */
function matches(list: BlockList, address: string): boolean {
  return list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

function blockList(networks: string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = '', ...rest] = network.split('/');
    const family = isIP(address);
    const prefix = Number(bits);
    if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(bits) || prefix > (family === 4 ? 32 : 128))
      throw new Error(`"${network}" is no network: write ADDRESS/BITS, as in 10.1.0.0/16.`);
    list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}
