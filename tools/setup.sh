#!/usr/bin/env bash
# Makes this checkout ready to run: Debian packages, virtual environment, C shim, kubectl for the tests.
# Does nothing, in well under a second, where all of it is there and nothing has changed.
#
#   tools/setup.sh run     what `make demo` needs
#   tools/setup.sh test    what `make test` and `make bench` need besides
set -euo pipefail
cd "$(dirname "$0")/.."

readonly tier="${1:-run}"
readonly cache=.cache

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 5; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root to run: $*; install the packages yourself, or run as root once"
    fi
}

# program[:program...]=package; a package is asked for only where one of its programs is missing
readonly run_programs="nft=nftables catatonit=catatonit gcc=gcc setsid=util-linux unshare=util-linux curl=curl haproxy=haproxy crun=crun conmon=conmon skopeo=skopeo"
readonly test_programs="ip=iproute2 dig=bind9-dnsutils kdig=knot-dnsutils musl-gcc=musl-tools conntrack=conntrack git=git ps=procps podman=podman wireguard-go=wireguard-go bird=bird2 /usr/lib/frr/bgpd=frr arping=arping h2load=nghttp2-client openssl=openssl zstd=zstd"
readonly vm_programs="qemu-system-x86_64=qemu-system-x86 busybox=busybox-static modprobe=kmod"
readonly bench_programs="dnsperf=dnsperf knotd=knot wrk=wrk"

missing_packages() {
    local pair
    for pair in "$@"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null || echo "${pair#*=}"
    done
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    [ -e /usr/include/stdlib.h ] || echo libc6-dev
    find /usr/lib -maxdepth 2 -name libc.a -print -quit 2>/dev/null | grep -q . || echo libc6-dev
}

find_python() {
    local candidate
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null \
            && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

install_packages() {
    local wanted=("$@")
    say "installing ${wanted[*]}"
    # Of these only the programs are wanted: a masked unit is not started as a server of this machine.
    local unit
    for unit in knot haproxy bird frr; do
        case " ${wanted[*]} " in
            *" $unit "* | *" ${unit}2 "*) [ ! -d /etc/systemd/system ] || [ -e "/etc/systemd/system/$unit.service" ] || as_root ln -s /dev/null "/etc/systemd/system/$unit.service" ;;
        esac
    done
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null || die "apt-get update failed"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${wanted[@]}" >"$cache/apt.log" 2>&1 \
        || { tail -5 "$cache/apt.log" >&2; die "apt-get install ${wanted[*]} failed; the log is $cache/apt.log"; }
}

packages() {
    local pairs missing
    pairs=$run_programs
    [ "$tier" = run ] || pairs="$pairs $test_programs $bench_programs"
    # shellcheck disable=SC2086 # one word a program
    mapfile -t missing < <(missing_packages $pairs | sort -u)
    if [ -z "$python" ]; then
        # Debian 12 and Ubuntu 24.04 have 3.11 or newer as python3; Ubuntu 22.04 has python3.11 beside its 3.10
        if apt-cache show python3-venv 2>/dev/null | grep -qE '^Version: 3\.(1[1-9]|[2-9][0-9])'; then
            missing+=(python3 python3-venv)
        else
            missing+=(python3.11 python3.11-venv)
        fi
    fi
    if [ "$tier" != run ] && [ ! -x /usr/lib/cni/bridge ]; then
        missing+=(containernetworking-plugins)
    fi
    [ "${#missing[@]}" = 0 ] || install_packages "${missing[@]}"
}

# Exactly the packages of requirements/, which pip and uv check by their hashes; index and proxy are this machine's own.
environment() {
    local want requirements=requirements/$tier.txt
    [ -n "$python" ] || python=$(find_python) # installed just now
    [ -n "$python" ] || die "no Python 3.11 or newer with venv; install python3-venv"
    want="$("$python" -V) $(cat pyproject.toml requirements/*.txt | sha256sum)"
    # what the tests need holds all that running needs
    if [ -x .venv/bin/netloom ] && grep -qxF -e "$tier $want" -e "test $want" .venv/.netloom 2>/dev/null; then
        return
    fi
    say "making the virtual environment"
    if ! { [ -x .venv/bin/python ] && .venv/bin/python -c ''; } 2>/dev/null; then
        rm -rf .venv
        "$python" -m venv .venv
    fi
    # the system's certificates, as everything else on this machine trusts them
    sed -n '/^uv==/,/[^\]$/p' "$requirements" >"$cache/uv.txt"
    PIP_CERT=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt} \
        .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r "$cache/uv.txt"
    .venv/bin/uv pip sync -q --compile-bytecode --require-hashes --native-tls --python .venv/bin/python "$requirements"
    .venv/bin/uv pip install -q --offline --no-deps --no-build-isolation --python .venv/bin/python -e .
    echo "$tier $want" >.venv/.netloom
}

# Modules as bytecode, once: where PYTHONDONTWRITEBYTECODE is set, every process would compile them again at its start.
bytecode() {
    [ -n "$(find src -name '*.py' -newer "$cache/bytecode" -print -quit 2>/dev/null)" ] || [ ! -e "$cache/bytecode" ] || return 0
    touch "$cache/bytecode"
    .venv/bin/python -m compileall -q -j 0 src
}

shim() {
    local binary=build/netloom-cni source=src/netloom/cni/shim/netloom-cni.c
    [ "$binary" -nt "$source" ] || "$python" tools/build_shim.py || die "the CNI shim did not compile"
}

# kubectl for the tests: the one on PATH when it is 1.30 or newer, else Debian's own package unpacked into the cache.
kubectl_is_new_enough() {
    "$1" version --client -o json 2>/dev/null | grep -qE '"gitVersion": *"v1\.(3[0-9]|[4-9][0-9])'
}

kubectl_for_tests() {
    local target=$cache/bin/kubectl found
    [ -x "$target" ] && return
    mkdir -p "$cache/bin"
    found=$(type -P kubectl || true)
    if [ -n "$found" ] && kubectl_is_new_enough "$found"; then
        ln -sf "$found" "$target"
        return
    fi
    say "fetching kubectl"
    local site keyring=/usr/share/keyrings/debian-archive-keyring.gpg apt=$PWD/$cache/apt
    site=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' 2>/dev/null | awk '$2 == "Debian" && $3 == "Debian" {print $1; exit}')
    if [ -z "$site" ] || [ ! -e "$keyring" ]; then
        say "no kubectl 1.30 or newer on PATH and none in this system's packages: tests that need it will say so and be skipped"
        return
    fi
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=$keyring] $site trixie main" >"$apt/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
    (cd "$apt" && apt-get "${options[@]}" update && apt-get "${options[@]}" download kubectl && dpkg -x kubectl_*.deb unpacked) \
        || die "kubectl could not be fetched from this system's package mirror; put kubectl 1.30 or newer on PATH"
    cp "$apt/unpacked/usr/bin/kubectl" "$target"
    rm -rf "$apt"
}

# qemu, and Debian's kernel, unpacked and not installed: for tests/vm, drivers that this machine's own kernel may lack.
# Where they are not to be had, these tests say so and are not run.
vm() {
    [ "$(uname -m)" = x86_64 ] || return 0
    local missing package draft=$cache/vm/draft
    # shellcheck disable=SC2086 # one word a program
    mapfile -t missing < <(missing_packages $vm_programs | sort -u)
    if [ "${#missing[@]}" != 0 ]; then
        say "tests of other kernels need qemu (85 MB on disk)"
        (install_packages "${missing[@]}") || return 0
    fi
    [ ! -e "$cache/vm/kernel" ] || return 0
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" {print $2; exit}')
    if [ -z "$package" ]; then
        say "this system's packages have no linux-image-amd64: tests of other kernels will say so and not be run"
        return 0
    fi
    say "fetching $package for the tests of other kernels (70 MB)"
    rm -rf "$draft" && mkdir -p "$draft"
    if ! (cd "$draft" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb unpacked) \
        >"$cache/vm/log" 2>&1; then
        tail -2 "$cache/vm/log" >&2
        say "$package could not be fetched: tests of other kernels will say so and not be run"
        rm -rf "$draft"
        return 0
    fi
    # of 400 MB, what no such test can need
    (cd "$draft"/unpacked/lib/modules/*/kernel && rm -rf sound drivers/{gpu,media,infiniband,scsi,usb,staging,iio,hid,input,mfd,platform} \
        drivers/net/{ethernet,wireless,usb,can} fs/{btrfs,xfs,ocfs2,gfs2,ceph,smb,nfs,nfsd,f2fs,jfs,ubifs,reiserfs})
    rm -rf "$draft"/unpacked/boot/System.map-* "$draft"/unpacked/usr
    PATH="$PATH:/usr/sbin:/sbin" depmod -b "$draft/unpacked" "$(basename "$draft"/unpacked/lib/modules/*)"
    mv "$draft/unpacked" "$cache/vm/kernel"
    rm -rf "$draft"
}

mkdir -p "$cache"
python=$(find_python)
packages
environment
bytecode
shim
if [ "$tier" != run ]; then kubectl_for_tests; vm; fi
