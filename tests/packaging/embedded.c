/*
 * A program of somebody else that runs a broker of its own: embedded DIR TMPFS_DIR.
 * Not here: what a broker does (the other tests).
 */
#include <stdio.h>
#include <tusk/broker.h>

int main(int argc, char **argv)
{
    char error_text[512] = "";
    char socket_path[4096];
    char data_dir[4096];
    char run_dir[4096];
    struct tusk_broker_options broker_options = TUSK_BROKER_OPTIONS_INIT;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk_broker *broker = NULL;
    struct tusk_topic *topic = NULL;
    struct tusk *tusk = NULL;
    uint64_t seq = 1;

    if (argc != 3) {
        return 64;
    }
    snprintf(data_dir, sizeof data_dir, "%s/data", argv[1]);
    snprintf(socket_path, sizeof socket_path, "%s/tusk.sock", argv[2]);
    snprintf(run_dir, sizeof run_dir, "%s/run", argv[2]);
    broker_options.data_dir = data_dir;
    broker_options.socket_path = socket_path;
    broker_options.run_dir = run_dir;
    broker_options.arena_bytes = 16u << 20;
    broker_options.error_text = error_text;
    broker_options.error_text_bytes = sizeof error_text;
    broker_options.quiet = 1;
    options.socket_path = socket_path;

    int error = tusk_broker_start(&broker, &broker_options);
    if (error) {
        fprintf(stderr, "tusk_broker_start: %d: %s\n", error, error_text);
        return 1;
    }
    error = tusk_connect(&tusk, &options);
    if (!error) {
        error = tusk_topic_open(tusk, "t", NULL, &topic);
    }
    if (!error) {
        error = tusk_append(topic, "x", 1, &seq);
    }
    printf("%d %llu\n", error, (unsigned long long)seq);
    tusk_topic_close(topic);
    tusk_disconnect(tusk);
    return tusk_broker_stop(broker) ? 1 : 0;
}
