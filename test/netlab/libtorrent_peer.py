"""A libtorrent peer: TORRENT DIR IP PORT off|allow|require HOOK

Seeds what DIR holds, or downloads into it and then seeds; runs HOOK once
everything is there.
"""
import subprocess
import sys
import time

import libtorrent as lt

torrent, folder, ip, port, encryption, hook = sys.argv[1:7]
policy = {"off": 2, "allow": 1, "require": 0}[encryption]
session = lt.session({
    "listen_interfaces": f"{ip}:{port}", "outgoing_interfaces": ip, "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "connections_limit": 1000, "unchoke_slots_limit": -1,
    "out_enc_policy": policy, "in_enc_policy": policy, "allowed_enc_level": 2 if encryption == "require" else 3,
    "min_reconnect_time": 1, "alert_mask": 0, "hashing_threads": 2, "mixed_mode_algorithm": 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    time.sleep(0.05)
subprocess.run([hook], check=True)
while True:
    time.sleep(1)
