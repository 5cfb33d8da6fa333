#!/bin/bash
# Fetches Debian's kernels as DIR/NAME/vmlinuz, and root file systems to go with
# them, from the mirror that this machine's own apt sources name. What is younger
# than a week is kept. As root.
# A kernel that is not had is told of, and is no error here: the matrix says
# which ones must be there.
# usage: fetch.sh DIR
set -euo pipefail

# name, suite, architecture
kernels='
5.10        bullseye      amd64
6.1         bookworm      amd64
6.12        trixie        amd64
newest      sid           amd64
next        experimental  amd64
6.1-arm64   bookworm      arm64
'

# The repositories of Debian that this machine uses.
repositories() {
    APT_CONFIG='' apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        sort --unique
}

# Gives apt a state of its own: this machine's sources stay as they are.
write_apt_config() {
    local apt=$1 suite=$2 arch=$3 repository
    mkdir -p "$apt"/{lists/partial,archives/partial}
    : >"$apt/status"
    for repository in $(repositories); do
        local name=$suite
        if [[ $repository == *security* ]]; then
            [[ $suite == sid || $suite == experimental ]] && continue
            name=$suite-security
        fi
        echo "deb [arch=$arch target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "$repository $name main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<-END
	Dir::State "$apt";
	Dir::State::status "$apt/status";
	Dir::Cache "$apt";
	Dir::Etc::sourcelist "$apt/sources.list";
	Dir::Etc::sourceparts "-";
	APT::Architecture "$arch";
	APT::Architectures { "$arch"; };
	APT::Sandbox::User "root";
	END
}

# The package that a package needs for its kernel; nothing if it has it itself.
needed_by() {
    apt-cache depends "$1" | awk '$1 == "Depends:" && $2 ~ /^linux-(image|binary)-[0-9]/ { print $2 }'
}

# fetch SUITE ARCH APT INTO
fetch() {
    set -e
    write_apt_config "$3" "$1" "$2"
    export APT_CONFIG=$3/apt.conf
    cd "$3"
    apt-get update -qq
    local package next=linux-image-cloud-$2
    while [[ -n $next ]]; do
        package=$next
        next=$(needed_by "$package")
    done
    apt-get download -qq "$package"
    dpkg-deb --fsys-tarfile ./*.deb |
        tar --extract --wildcards --transform 's,.*/.*,vmlinuz,' '*/vmlinuz*'
    mkdir -p "$4"
    mv vmlinuz "$4/vmlinuz"
    touch "$4/vmlinuz"
    dpkg-deb --field ./*.deb Package | sed 's/^linux-[a-z]*-//' >"$4/release"
}

# The root file systems are of this machine's release: what is built here runs
# there. That of the other processor is what its programs are linked with, too.
trees='
root-amd64  extract  amd64  busybox-static,bash,passwd,util-linux,libelf1,zlib1g,libgcc-s1
root-arm64  extract  arm64  busybox-static,bash,passwd,util-linux,libelf-dev,zlib1g-dev,libgcc-s1
root-host   minbase  amd64  systemd-sysv,dbus,dbus-user-session,libpam-systemd,libelf1,zlib1g,procps,sway,foot,tmux,fonts-dejavu-core
'

# make_tree VARIANT ARCH PACKAGES WORK INTO: as INTO and as INTO.cpio.
make_tree() {
    set -e
    local suite file
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    write_apt_config "$4" "$suite" "$2"
    for file in doc locale man info; do
        echo "path-exclude=/usr/share/$file/*"
    done >"$4/dpkg.cfg"
    local user=()
    if [[ $1 != extract ]]; then
        user=(--customize-hook='chroot "$1" useradd --create-home --shell /bin/bash alice')
    fi
    mmdebstrap --quiet --variant="$1" --architectures="$2" --include="$3" --dpkgopt="$4/dpkg.cfg" \
        "${user[@]}" "$suite" "$4/tree" "$4/sources.list"
    (cd "$4/tree" && find . -mindepth 1 -print0 |
        cpio --create --null --format=newc --quiet) >"$4/cpio"
    rm -rf "$5"
    mv "$4/tree" "$5"
    mv "$4/cpio" "$5.cpio"
}

mkdir -p "${1:?usage: fetch.sh DIR}"
dir=$(realpath "$1")
work=$(mktemp -d)
# What installs packages in there looks as somebody else.
chmod 755 "$work"
trap 'rm -r "$work"' EXIT
# In a condition `set -e` would not hold: so each is a command of its own.
export -f fetch make_tree needed_by write_apt_config repositories

is_new() {
    [[ -n $(find "$1" -mtime -7 2>/dev/null) ]]
}

while read -r name suite arch; do
    if [[ -z $name ]] || is_new "$dir/$name/vmlinuz"; then continue; fi
    if bash -c 'fetch "$@"' fetch "$suite" "$arch" "$work/$name" "$dir/$name" </dev/null; then
        echo "kernel $name: $(<"$dir/$name/release")"
    else
        echo "kernel $name: $suite has none for $arch, or it cannot be fetched" >&2
    fi
    rm -rf "${work:?}/$name"
done <<<"$kernels"

while read -r name variant arch packages; do
    if [[ -z $name ]] || is_new "$dir/$name.cpio"; then continue; fi
    bash -c 'make_tree "$@"' make_tree "$variant" "$arch" "$packages" "$work/$name" "$dir/$name" </dev/null
    echo "$name: $(du --summarize --human-readable "$dir/$name.cpio" | cut -f 1)"
    rm -rf "${work:?}/$name"
done <<<"$trees"
