#!/bin/sh
# Runs a program without address space randomisation, where that is allowed: gcc 12's
# ThreadSanitizer refuses to start on kernels that randomise more than 28 bits.
if setarch --addr-no-randomize true 2>/dev/null; then
    exec setarch --addr-no-randomize "$@"
fi
exec "$@"
