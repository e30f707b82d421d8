#!/bin/sh
":" /* # Yarn runs this file with node, to which all this is a comment. Its end says so.
#
# Executes the program for this machine. The program is in a package of its own, installed beside this one.
#
# The working directory may belong to anyone, and npx and bunx put its node_modules/.bin first in PATH. So this script looks nothing up
# in PATH (command -p), and looks for the program only in the directories that this package was installed into.
fail() {
  printf 'responses-api-proxy: error: %s\n' "$1" >&2
  printf 'responses-api-proxy: hint: %s\n' "$2" >&2
  exit 1
}

system=$(command -p uname -s)
machine=$(command -p uname -m)
case $system/$machine in
  Linux/x86_64) target=linux-x64 loader=/lib64/ld-linux-x86-64.so.2 musl=/lib/ld-musl-x86_64.so.1 ;;
  Linux/aarch64) target=linux-arm64 loader=/lib/ld-linux-aarch64.so.1 musl=/lib/ld-musl-aarch64.so.1 ;;
  *)
    fail "only Linux on x64 and arm64 is supported, not $system on $machine" \
      "the key is protected by system calls that only Linux has"
    ;;
esac
# The runtime requires these instructions on x64. On a processor without them, the program dies of SIGILL without a message.
if [ "$machine" = x86_64 ] && [ -r /proc/cpuinfo ]; then
  for feature in sse4_2 popcnt; do
    command -p grep -q -m 1 -w "$feature" /proc/cpuinfo ||
      fail "this processor has no $feature, which the program requires (x86-64-v2)" \
        "in a virtual machine, choose another processor model, such as the host's own"
  done
fi
# A program for glibc requires glibc's loader; without it only the program for musl can run. With it, the program for musl may still be
# the one that is installed (Alpine with gcompat).
targets="$target $target-musl"
[ -e "$loader" ] || targets=$target-musl

# The kernel gives a path here. "bash responses-api-proxy" finds the script in PATH, and says its name alone, which means the working directory.
case $0 in *[/]*) ;; *) fail "'$0' is no path, so the installed program cannot be found from it" \
  "start responses-api-proxy by itself, without a shell before it" ;; esac
here=$(command -p readlink -f -- "$0")
here=${here%/bin/*}
for packages in "$here/node_modules" "${here%/*}"; do
  for target in $targets; do
    program=$packages/responses-api-proxy-$target/bin/responses-api-proxy
    if [ -x "$program" ]; then
      case $target in *-musl) [ -e "$musl" ] || fail "the installed program is for musl, whose $musl is not here" \
        "install again without --libc=musl" ;; esac
      exec "$program" "$@"
    fi
  done
done
fail "the package responses-api-proxy-${targets%% *} is not installed beside $here" \
  "install again on this machine, with optional dependencies"
exit
*/;
console.error("responses-api-proxy: error: this is a script for sh, and node runs it, as Yarn has it do");
console.error("responses-api-proxy: hint: start node_modules/.bin/responses-api-proxy, or install it with npm");
process.exitCode = 1;
