#!/bin/bash
# Fetches Debian's kernels as DIR/NAME/vmlinuz, from the mirror that this
# machine's own apt sources name. One that is younger than a week is kept.
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

dir=$(realpath "${1:?usage: fetch.sh DIR}")
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
while read -r name suite arch; do
    if [[ -z $name || -n $(find "$dir/$name/vmlinuz" -mtime -7 2>/dev/null) ]]; then
        continue
    fi
    # As a command of its own: in a condition `set -e` would not hold.
    export -f fetch needed_by write_apt_config repositories
    if bash -c 'fetch "$@"' fetch "$suite" "$arch" "$work/$name" "$dir/$name"; then
        echo "kernel $name: $(<"$dir/$name/release")"
    else
        echo "kernel $name: $suite has none for $arch, or it cannot be fetched" >&2
    fi
    rm -rf "${work:?}/$name"
done <<<"$kernels"
