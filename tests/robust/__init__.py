"""Proof that the server lives through what may befall it: hostile requests, kills, power cuts, full disks."""
