#!/usr/bin/env bash
# mkdocs-material 9.7.6: a site built with its `offline` plugin asks another server for a script on every page.
#
# Guess before it was run: with the plugin that makes a site work without a network, and `font: false`, no page names a
# script of another server.
# Seen: every page has a <script> from unpkg.com (a polyfill for search in frames), which the plugin itself adds. Without a
# network it does not load; with one, whoever opens the file from a disk is known to that server. It stays away only where
# the site has a polyfill whose own name says iframe-worker, as sfa-bench's docs/iframe-worker.js; any other changes nothing.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check mkdocs==1.6.1 mkdocs-material==9.7.6
mkdir -p "$work/docs"
printf '# Hello\n' >"$work/docs/index.md"
cd "$work"
# Prints how many scripts of other servers the page has, and the hosts.
hosts() {
  venv/bin/mkdocs build -q --clean -f mkdocs.yml 2>/dev/null
  { grep -oE '<script[^>]+src="https?://[^/"]+' site/index.html || true; } | sed -E 's#.*//##' | sort | uniq -c | sed -E 's/^ +//'
}
printf 'site_name: x\ntheme: {name: material, font: false}\nplugins: [search]\n' >mkdocs.yml
plain="$(hosts)"
printf 'site_name: x\ntheme: {name: material, font: false}\nplugins: [search, offline]\n' >mkdocs.yml
offline="$(hosts)"
cp mkdocs.yml without.yml
touch docs/other.js docs/iframe-worker.js
(cat without.yml; printf 'extra: {polyfills: [other.js]}\n') >mkdocs.yml
other="$(hosts)"
(cat without.yml; printf 'extra: {polyfills: [iframe-worker.js]}\n') >mkdocs.yml
own="$(hosts)"
printf 'without the plugin: %s\nwith it: %s\nwith it and a polyfill of that name: %s\n' \
  "${plain:-none}" "${offline:-none}" "${own:-none}"
[ -z "$plain" ] && [ -z "$own" ] && [ "$other" = "$offline" ]
[ "$offline" = "1 unpkg.com" ]
