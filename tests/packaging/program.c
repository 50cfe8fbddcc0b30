/*
 * A program of somebody else: sees only what is installed.
 * Not here: talking to a broker (the integration tests do).
 */
#include <stdio.h>
#include <tusk/tusk.h>

int main(void)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *tusk = NULL;

    options.socket_path = "/nonexistent/tusk.sock";
    options.timeout_ms = 1;
    if (tusk_connect(&tusk, &options) == 0) {
        fprintf(stderr, "connected to a broker that doesn't exist\n");
        return 1;
    }
    puts(tusk_version());
    return 0;
}
