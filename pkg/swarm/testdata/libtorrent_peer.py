#!/usr/bin/python3
"""A libtorrent peer for the tests: libtorrent_peer.py TORRENT DIR PORT off|require [dht]

Seeds what DIR holds, or downloads into it and then seeds, until it is killed.
"""
import sys
import time

import libtorrent as lt

torrent, folder, port, encryption = sys.argv[1:5]
policy = {"off": 2, "require": 0}[encryption]
session = lt.session({
    "listen_interfaces": f"127.0.0.1:{port}", "enable_dht": "dht" in sys.argv[5:], "dht_bootstrap_nodes": "", "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "out_enc_policy": policy, "in_enc_policy": policy,
    "allowed_enc_level": 2 if encryption == "require" else 3, "min_reconnect_time": 1, "alert_mask": 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
session.add_torrent(params)
while True:
    time.sleep(1)
