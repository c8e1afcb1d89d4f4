# shellcheck shell=sh disable=SC2034  # what is set here is used where this is read in
# What start, stop and doctor share. Everything they print is for the person at the stand.
# The folder of the bundle is the working directory; .env beside compose.yaml names the images and what is expected.

# Another project's choices in the environment must not reach this one's compose.
unset RECIPE SERVICE_IMAGE OLLAMA_IMAGE COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR COMPOSE_IGNORE_ORPHANS
GREEN='' YELLOW='' RED='' PLAIN=''
if [ -t 1 ]; then
  GREEN=$(printf '\033[32m') YELLOW=$(printf '\033[33m') RED=$(printf '\033[31m') PLAIN=$(printf '\033[0m')
fi
COPY_AGAIN='tar ファイルをもう一度コピーし、ここに広げ直してください。読み込みの済んだ分は、やり直しになりません。'

ok() { printf '%s○ %s%s\n' "$GREEN" "$1" "$PLAIN"; }
note() { printf '%s△ %s%s\n   → %s\n' "$YELLOW" "$1" "$PLAIN" "$2"; }
bad() { printf '%s× %s%s\n   → %s\n' "$RED" "$1" "$PLAIN" "$2"; }
step() { printf '・ %s\n' "$1"; }

BOM=$(printf '\357\273\277')

# setting NAME: its value in .env, read as Compose reads it; as for Compose, the environment goes first.
setting() {
  eval "found=\${$1-}"
  # shellcheck disable=SC2154  # eval sets it
  [ -n "$found" ] || found=$(LC_ALL=C sed -n -e "1s/^$BOM//" -e 's/^[[:space:]]*export[[:space:]]*//' -e "s/^[[:space:]]*$1[[:space:]]*=//p" .env 2>/dev/null | tail -n 1)
  meant "$found"
}

# meant VALUE: without blanks around it, a byte order mark, its quotes, and a comment behind it.
meant() {
  printf '%s\n' "$1" | tr -d '\r' | LC_ALL=C sed -e "s/^$BOM//" -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e 't quotes' -e ':quotes' \
    -e "s/^'\([^']*\)'[[:space:]]*\(#.*\)\{0,1\}\$/\\1/;t" -e 's/^"\([^"]*\)"[[:space:]]*\(#.*\)\{0,1\}$/\1/;t' \
    -e "s/^“\(.*\)”[[:space:]]*\(#.*\)\{0,1\}\$/\\1/;t" -e 's/^#$//' -e 's/^#[[:space:]].*$//' -e 's/[[:space:]][[:space:]]*#.*$//' | tr -d '\n'
}

# narrow: digits and signs of the input as a keyboard has them; an input method leaves wide ones.
narrow() { LC_ALL=C sed 's/０/0/g;s/１/1/g;s/２/2/g;s/３/3/g;s/４/4/g;s/５/5/g;s/６/6/g;s/７/7/g;s/８/8/g;s/９/9/g;s/．/./g;s/：/:/g'; }

# What Compose refuses though it is clear what was meant: wide digits, and an address without brackets, with a slash
# or by name.
POEM_PORT=$(setting POEM_PORT | narrow)
POEM_PUBLISH=$(setting POEM_PUBLISH | narrow | sed -e 's|/*$||' -e 's/^localhost$/127.0.0.1/' -e 's/^[^[]*:.*:.*$/[&]/' -e 's/^::$/[::]/')
for name in POEM_PORT POEM_PUBLISH; do
  # shellcheck disable=SC2163  # the variable of that name
  if eval "[ -n \"\$$name\" ]"; then export "$name"; else unset "$name"; fi
done

# dollars: names behind a $ in .env that Compose took for variables and found empty.
dollars() {
  docker compose config --quiet 2>&1 | sed -n 's/.*The \\"\([A-Za-z0-9_]*\)\\" variable is not set.*/\1/p' | sort -u | while read -r name; do
    grep -q "{$name[:}]" compose.yaml || echo "$name"
  done
}

# note_dollars: says so.
note_dollars() {
  for name in $(dollars); do
    note ".env の \$$name は、空の変数として読まれています。" "\$ を含む値は、'…' のように一重の引用符で囲んでください。"
  done
}

# image_of PART, digest_of PART: what .env expects of the image of a compose service.
image_of() { setting "$(upper "$1")_IMAGE"; }
digest_of() { setting "$(upper "$1")_IMAGE_DIGEST"; }
upper() { printf '%s' "$1" | tr '[:lower:]-' '[:upper:]_'; }

sha256() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# size FILE: for a reader.
size() { du -h "$1" 2>/dev/null | awk '{ print $1 "B" }'; }

# engine_fault: why the engine cannot be used, and on the next line what to do; nothing when it can.
engine_fault() {
  if ! command -v docker >/dev/null 2>&1; then
    echo 'Docker が見つかりません。'
    echo 'Docker Desktop（Linux では Docker Engine）を入れてから、もう一度どうぞ。'
    return
  fi
  if ! platform=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}' 2>&1); then
    case $platform in
      *'permission denied'*)
        echo 'Docker を使う許可がありません。'
        echo "端末で sudo ./$(basename "$0") とするか、この利用者を docker グループに入れてください。" ;;
      *)
        echo 'Docker が動いていません。'
        echo 'Docker Desktop を開いて（Linux では sudo systemctl start docker）、一分ほど待ってから、もう一度どうぞ。' ;;
    esac
    return
  fi
  wanted=$(setting BUNDLE_PLATFORM)
  if [ "$platform" != "$wanted" ]; then
    echo "このパソコンの Docker は $platform です。この持ち出し版は $wanted 用です。"
    echo "$wanted のパソコンで使うか、$platform の機械で make bundle をして、それを使ってください。"
    return
  fi
  if ! docker compose version >/dev/null 2>&1; then
    echo 'Docker Compose が見つかりません。'
    echo 'Docker Desktop を新しくするか、docker-compose-plugin を入れてください。'
  fi
}

# is_loaded PART: whether the engine has the very image that .env expects. Layers are named by their content.
is_loaded() {
  found=$(docker image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' "$(image_of "$1")" 2>/dev/null) || return 1
  [ "$(printf '%s\n' "$found" | grep . | sha256 | cut -d ' ' -f 1)" = "$(digest_of "$1")" ]
}

# sums_are_whole: SHA256SUMS ends with a line that counts the others.
sums_are_whole() {
  [ "$(tail -n 1 SHA256SUMS 2>/dev/null)" = "# $(grep -c '^[0-9a-f]' SHA256SUMS 2>/dev/null) files" ]
}

# sums_fault: why no file can be looked at, and on the next line what to do; nothing when they can.
sums_fault() {
  if ! sha256 </dev/null >/dev/null 2>&1; then
    echo 'sha256sum も shasum も見つかりません。'
    echo 'どちらかを入れてから、もう一度どうぞ。'
  elif ! [ -r SHA256SUMS ]; then
    echo 'SHA256SUMS がありません。'
    echo "$COPY_AGAIN"
  elif ! sums_are_whole; then
    echo 'SHA256SUMS が途中で切れています。'
    echo "$COPY_AGAIN"
  fi
}

# wrong_files GREP-ARGUMENTS: of the lines of SHA256SUMS so chosen, the names that are missing, cut or changed. Each file
# is looked at by itself: what -c prints of one that is missing is not the same on every system.
wrong_files() {
  grep '^[0-9a-f]' SHA256SUMS | grep -E "$@" | while IFS= read -r line; do
    file=${line#*  }
    found=$({ sha256 <"$file"; } 2>/dev/null)
    [ "${found%% *}" = "${line%% *}" ] || printf '%s\n' "$file"
  done
}

# what_is_wrong FILE
what_is_wrong() { if [ -e "$1" ]; then echo "$1 が壊れています（途中で切れたか、中身が変わっています）。"; else echo "$1 がありません。"; fi; }

# May be changed at the stand: a difference there is no fault.
CHANGEABLE='  (\.env|files/.*)$'
IMAGE_ARCHIVE='  images/'

# address: of the page, as a browser on this machine takes it.
address() {
  host=$(setting POEM_PUBLISH)
  case $host in
    '' | 0.0.0.0 | 127.0.0.1 | '[::]' | '[::1]') host=localhost ;;
  esac
  echo "http://$host:$(setting POEM_PORT | grep . || echo 3001)"
}
# end
