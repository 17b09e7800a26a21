#!/bin/sh
# Brings every complete version of each model from the bucket. A version is copied under a name that is no number and
# appears by one rename. A mark, MODEL/VERSION.complete, says that the bucket has all of it: push.sh writes it last.
#   pull.sh REMOTE FOLDER [SECONDS between looks; without it: once]
set -eu
remote=$1 folder=$2 seconds=${3:-}

pull() {
  rclone lsf --recursive --files-only --include '*/*.complete' "$remote" | while read -r mark; do
    version=${mark%.complete}
    model=${version%/*} number=${version#*/}
    [ -d "$folder/$version" ] && continue
    rm -rf "$folder/$model/.incoming-$number"
    rclone copy "$remote/$version" "$folder/$model/.incoming-$number"
    mv "$folder/$model/.incoming-$number" "$folder/$version"
    echo "pulled $version"
  done
}

pull
while [ -n "$seconds" ]; do
  sleep "$seconds"
  pull || echo "the bucket cannot be read; trying again in $seconds s" >&2
done
