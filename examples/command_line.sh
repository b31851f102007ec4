#!/bin/sh
# The commands on two photographs: a person in other poses, in another one's top, moving.
#
#     sh examples/command_line.sh person.png other.png drawn
#
# Maps are read from beside the photographs (person.iuv.png), or found in them. Flags for all, such as
# "--model FOLDER --steps 4", go into POCOLD_FLAGS.
set -eu

mkdir -p "$3"
pocold transfer "$1" --pose walk:side hips:back --output "$3" ${POCOLD_FLAGS-}
pocold encode "$1" --output "$3/person.safetensors"
pocold transfer "$3/person.safetensors" --pose wave:30 --output "$3/wave.png" ${POCOLD_FLAGS-}
pocold edit "$1" --like "$2" --region parts:top --output "$3/edited.png" ${POCOLD_FLAGS-}
pocold mix "$1" "$2" --parts legs feet --output "$3/mixed.png" ${POCOLD_FLAGS-}
pocold animate "$1" --turn --frames 12 --output "$3/turn.gif" ${POCOLD_FLAGS-}
pocold show "$3/edited.png"
