#!/bin/sh
# A model store that Ollama wrote → what its manifests name, each blob checked, in two trees for two image layers:
# the weights, and the rest. Times are set to zero, so that the same model gives the same layers.
#   store.sh STORE WEIGHTS REST
set -eu
store=$1 weights=$2 rest=$3
mkdir -p "$weights/blobs" "$rest/blobs"
cp -r "$store/manifests" "$rest/"
grep -rhoE 'sha256:[0-9a-f]{64}' "$store/manifests" | sort -u | while IFS=: read -r kind digest; do
  blob=$store/blobs/$kind-$digest
  echo "$digest  $blob" | sha256sum --check --status || { echo "$blob: not what its name says" >&2; exit 1; }
  case $(head -c 4 "$blob") in
    GGUF) cp "$blob" "$weights/blobs/" ;;
    *) cp "$blob" "$rest/blobs/" ;;
  esac
done
find "$weights" "$rest" -exec touch --no-dereference --date=@0 {} +
chmod -R a+rX "$weights" "$rest"
