"""What `sh` does in a container or pod for us. POSIX sh and a few programs that GitLab's images have; no Python.

The tool is unpacked into a folder of its own under the bundle's sha256, where only its owner may write. As root it
stays readable for all, because the tool then runs as the GitLab user.
"""

from enum import IntEnum, StrEnum

from tokens.targets.here.installation import (
    DISTRIBUTION_RAILS,
    OMNIBUS_RAILS,
    PROOFS,
    SOURCE_DEFAULTS,
    SOURCE_RAILS,
    TOOLBOX_RAILS,
)


class ScriptStatus(IntEnum):
    """Exit statuses of these scripts that the tool itself never has."""

    MISSING = 91  # the tool is not there yet
    OTHER_MACHINE = 92  # another architecture; it is printed
    NO_FOLDER = 93  # nowhere may programs be put and executed
    DAMAGED = 94  # what arrived is not what was sent
    NO_ROOM = 95  # it could not be written or unpacked
    NO_RECORD = 96  # nothing is known of that run
    BROKEN = 97  # the tool is there, but cannot be started
    NO_GITLAB = 98  # the tool is not there, and neither is GitLab
    INSTALLED_BROKEN = 99  # the tool that is installed for good cannot be started


class EndProof(StrEnum):
    """How it is known how a run ended: docker and kubectl have left with 0 after sessions that were cut."""

    MARK = "mark"  # the run's name and exit status follow the last byte of its output
    RECORD = "record"  # they are written down there, since the output is a terminal's


INSTALLED = "/opt/gitlab-tokens"  # where deploy/ puts the tool for good

# Folders below which the tool may be kept, in order; each gets a subfolder named after us and the account's number.
FOLDERS = "/var/lib /tmp /srv/gitlab/tmp /home/git /var/opt/gitlab"

# Folders that a run's files may be in, in order: small ones, which nobody executes. Docker leaves the last one writable
# under a read-only root, and mounts it without exec.
FILE_FOLDERS = f"{FOLDERS} /dev/shm"

# Where the application may lie; a distribution's folder has other things in it, too, and is looked at more closely.
_PLACES = " ".join((OMNIBUS_RAILS, TOOLBOX_RAILS, SOURCE_RAILS, SOURCE_DEFAULTS))
_PACKAGED = " ".join(f"{place}/{proof}" for place in DISTRIBUTION_RAILS for proof in PROOFS)

# In a folder that others may write to, one that is not ours or a link may be a trap, and so may anything in one of ours
# that others may write. Modes come from ls, since not every image has find; where there is one, all files count.
_OURS = f"""
candidates() {{
  for above in {FOLDERS}; do echo "$above/gitlab-tokens-$(id -u)"; done
}}
mine() {{ [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }}
closed() {{
  for path; do
    case $(ls -ldn "$path") in ?????w* | ????????w*) return 1 ;; esac
    [ -O "$path" ] || return 1
  done
}}
ours() {{ mine "$1" && closed "$1"; }}
untouched() {{
  ours "$1" && closed "$1/gitlab-tokens" && {{
    ! command -v find > /dev/null ||
      [ -z "$(find "$1" ! -type l \\( -perm -0020 -o -perm -0002 -o ! -user "$(id -u)" \\) 2>&1 | head -n 1)" ]
  }}
}}
"""

# The program that counts: what is installed for good, if it has the same version, else what was carried here.
_FIND = (
    _OURS
    + f"""
program=
find_program() {{
  if {{ read -r installed < {INSTALLED}/VERSION; }} 2>/dev/null && [ "$installed" = "$version" ] &&
    [ -x {INSTALLED}/gitlab-tokens ] && {{ [ "$(id -u)" != 0 ] || untouched {INSTALLED}; }}; then
    program={INSTALLED}/gitlab-tokens
    return 0
  fi
  for folder in $(candidates); do
    if ours "$folder" && [ -x "$folder/$hash/gitlab-tokens" ] && untouched "$folder/$hash"; then
      program=$folder/$hash/gitlab-tokens
      return 0
    fi
  done
  root=${{INVOKE_TOKENS_ROOT:-}}
  for place in {_PLACES} {_PACKAGED}; do
    [ ! -e "$root/$place" ] || return {ScriptStatus.MISSING:d}
  done
  return {ScriptStatus.NO_GITLAB:d}
}}
"""
)

# START HASH VERSION RUN PROOF FILES WORD…: runs the tool if it is there; its exit status is told by the proof alone.
# A signal for the whole terminal is the tool's to answer; the shell stays, so that it can be found by the run's name.
# What was carried as FILES goes when the run has ended, also when nobody is listening any more. A record that nobody
# has asked for goes after a month: until then its session may last.
START = (
    _FIND
    + f"""
hash=$1 version=$2 run=$3 proof=$4 files=$5
shift 5
record=
if [ "$proof" = {EndProof.RECORD} ]; then
  find {FILE_FOLDERS} -maxdepth 1 -name '.gitlab-tokens-*' -user "$(id -u)" -mtime +30 -exec rm -f '{{}}' + 2>/dev/null
  for above in {FILE_FOLDERS}; do
    if (umask 077; set -C; : > "$above/.gitlab-tokens-$run") 2>/dev/null; then
      record=$above/.gitlab-tokens-$run
      break
    fi
  done
fi
trap : INT TERM HUP
find_program
status=$?
if [ "$status" = 0 ]; then
  "$program" "$@"
  status=$?
  case $status-$program in
    126-{INSTALLED}/* | 127-{INSTALLED}/*) status={ScriptStatus.INSTALLED_BROKEN:d} ;;
    126-* | 127-*) status={ScriptStatus.BROKEN:d} ;;
  esac
fi
for above in {FILE_FOLDERS}; do
  for file in "$above/.gitlab-tokens-$files".*; do
    [ ! -f "$file" ] || rm -f "$file"
  done
done
if [ "$proof" = {EndProof.MARK} ]; then printf '%s %03d' "$run" "$status"; fi
[ -z "$record" ] || echo "$status" > "$record"
exit 0
"""
)

# CARRY HASH VERSION FILES NAME SUM < FILE: keeps a file for a run, for this account alone, and prints where; only where
# the tool is there to read it. FILES is not the run's name, which would be among the tool's words then and mislead
# STOP. What was left by runs that never began, or were killed, goes after a day.
CARRY = (
    _FIND
    + f"""
hash=$1 version=$2 files=$3 name=$4 sum=$5
find_program || exit $?
find {FILE_FOLDERS} -maxdepth 1 -name '.gitlab-tokens-*.*' -user "$(id -u)" -mtime +0 -exec rm -f '{{}}' + 2>/dev/null
umask 077
set -C
for above in {FILE_FOLDERS}; do
  file=$above/.gitlab-tokens-$files.$name
  (: > "$file") || continue
  cat >> "$file" || {{ rm -f "$file"; exit {ScriptStatus.NO_ROOM:d}; }}
  found=$(sha256sum < "$file")
  if [ "${{found%% *}}" != "$sum" ]; then rm -f "$file"; exit {ScriptStatus.DAMAGED:d}; fi
  echo "$file"
  exit 0
done 2>/dev/null
exit {ScriptStatus.NO_FOLDER:d}
"""
)

# ENDED RUN: prints the status that the run left, or nothing while it lasts.
ENDED = f"""
for above in {FILE_FOLDERS}; do
  record=$above/.gitlab-tokens-$1
  if [ -f "$record" ] && [ -O "$record" ]; then
    cat "$record"
    [ ! -s "$record" ] || rm -f "$record"
    exit 0
  fi
done
exit {ScriptStatus.NO_RECORD:d}
"""

# STOP RUN SIGNAL: sends the signal to what the run's shell has started. The shell has the run's name among its words,
# which anybody may read; the environment of the tool, which has changed its user, not even root may in a container.
STOP = r"""
for shell in /proc/[0-9]*; do
  shell=${shell#/proc/}
  if [ "$shell" != $$ ] && grep -qs "$1" "/proc/$shell/cmdline"; then
    for child in /proc/[0-9]*; do
      if grep -qs "^PPid:[^0-9]*$shell\$" "$child/status"; then kill -s "$2" "${child#/proc/}"; fi
    done
  fi
done
exit 0
"""

# ENTER: nothing, to see whether one gets in.
ENTER = "exit 0"

# UPLOAD HASH MACHINE < BUNDLE: unpacks the bundle that comes in, once it has arrived undamaged, in the place of one
# that cannot be started. Other versions go when a month has passed: until then somebody may be running one.
UPLOAD = (
    _OURS
    + f"""
hash=$1
machine=$(uname -m)
if [ "$machine" != "$2" ]; then echo "$machine"; exit {ScriptStatus.OTHER_MACHINE:d}; fi
if [ "$(id -u)" = 0 ]; then umask 022; else umask 077; fi
part=
for folder in $(candidates); do
  mkdir "$folder" 2>/dev/null || ours "$folder" || continue
  part=$folder/part.$$
  if mkdir "$part" 2>/dev/null; then
    printf '#!/bin/sh\\nexit 0\\n' > "$part/probe" && chmod 700 "$part/probe" && "$part/probe" && break
    rm -rf "$part"
  fi 2>/dev/null
  rmdir "$folder" 2>/dev/null
  part=
done
[ -n "$part" ] || exit {ScriptStatus.NO_FOLDER:d}
trap 'rm -rf "$part"' EXIT
cat > "$part/bundle" || exit {ScriptStatus.NO_ROOM:d}
sum=$(sha256sum < "$part/bundle")
[ "${{sum%% *}}" = "$hash" ] || exit {ScriptStatus.DAMAGED:d}
mkdir "$part/tree" && tar -xzof "$part/bundle" -C "$part/tree" || exit {ScriptStatus.NO_ROOM:d}
if [ -e "$folder/$hash" ] &&
  ! {{ untouched "$folder/$hash" && "$folder/$hash/gitlab-tokens" --version > "$part/said" 2>&1; }}; then
  mv "$folder/$hash" "$part/broken"
fi
[ -e "$folder/$hash" ] || mv "$part/tree" "$folder/$hash" || exit {ScriptStatus.NO_ROOM:d}
find "$folder" -mindepth 1 -maxdepth 1 ! -name "$hash" -mtime +30 -exec rm -rf '{{}}' + 2>/dev/null
echo "$folder/$hash"
"""
)

# CLEAN: removes whatever was carried here, and prints what that was.
CLEAN = (
    _OURS
    + f"""
for folder in $(candidates); do
  if mine "$folder" && rm -rf "$folder"; then echo "$folder"; fi
done
for above in {FILE_FOLDERS}; do
  for record in "$above"/.gitlab-tokens-*; do
    if [ -f "$record" ] && [ -O "$record" ]; then rm -f "$record"; fi
  done
done
exit 0
"""
)
