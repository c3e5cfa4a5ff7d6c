"""A stock DHT node (libtorrent). stock.py LISTEN NODE SEED PUBLIC: reads commands
from standard input, one a line, and writes a line of answer for each."""
import hashlib
import sys
import time
import warnings

import libtorrent as lt

warnings.simplefilter("ignore", DeprecationWarning)
listen, node, seed, public = sys.argv[1:5]
session = lt.session({
    "listen_interfaces": listen,
    "enable_dht": True, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False, "dht_prefer_verified_node_ids": False,
    "alert_mask": lt.alert.category_t.all_categories,
})
host, port = node.rsplit(":", 1)
session.add_dht_node((host, int(port)))
expanded = bytearray(hashlib.sha512(bytes.fromhex(seed)).digest())  # the key as libtorrent has it
expanded[0] &= 248
expanded[31] = expanded[31] & 63 | 64
private, public = bytes(expanded), bytes.fromhex(public)


def await_alert(kind, seconds, ok=lambda a: True):
    end = time.time() + seconds
    while time.time() < end:
        session.wait_for_alert(100)
        for a in session.pop_alerts():
            if isinstance(a, kind) and ok(a):
                return a
    return None


def nodes(_):
    end = time.time() + 20
    while time.time() < end and session.status().dht_nodes < 1:
        time.sleep(0.1)
    return session.status().dht_nodes


def announce(args):
    # By a torrent: the flags of dht_announce cannot be given in Python.
    p = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + args[0])
    p.save_path = "/nonexistent"
    session.add_torrent(p)
    return "ok"


def peers(args):
    session.dht_get_peers(lt.sha1_hash(bytes.fromhex(args[0])))
    a = await_alert(lt.dht_get_peers_reply_alert, 3, lambda a: a.num_peers() > 0)
    return sorted("%s:%d" % p for p in a.peers()) if a else []


def put(args):
    session.dht_put_mutable_item(private, public, args[1].encode(), args[0].encode())
    a = await_alert(lt.dht_put_alert, 10)
    return "%d %d" % (a.seq, a.num_success) if a else "nothing"


def get(args):
    session.dht_get_mutable_item(public, args[0].encode())
    a = await_alert(lt.dht_mutable_item_alert, 3, lambda a: a.seq > 0)
    return "%d %r" % (a.seq, a.item) if a else "nothing"


for line in sys.stdin:
    name, *rest = line.split()
    print({"nodes": nodes, "announce": announce, "peers": peers, "put": put, "get": get}[name](rest), flush=True)
