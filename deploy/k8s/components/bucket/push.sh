#!/bin/sh
# Copies what the bucket lacks of a folder of models; a version's mark goes last. What pull.sh reads.
#   push.sh FOLDER REMOTE
set -eu
folder=$1 remote=$2
there=$(rclone lsf --recursive --files-only --include '*/*.complete' "$remote" 2>/dev/null || true)

for path in "$folder"/*/[0-9]*; do
  version=${path#"$folder"/}
  echo "$there" | grep -qx "$version.complete" && continue
  rclone copy "$path" "$remote/$version"
  echo complete | rclone rcat "$remote/$version.complete"
  echo "pushed $version"
done
