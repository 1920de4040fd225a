"""Measurements that take minutes, and the plain baseline that the suite is measured beside; not shipped."""
