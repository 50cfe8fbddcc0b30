/*
 * Peer nats: a JetStream stream in a nats-server of the benchmark's own, on a port of the loopback
 * interface that the kernel chooses (the server knows no unix sockets).
 * Runs on:  see peer.h; the library's own threads in each process too. Streams are made in a process
 *           of their own: processes that inherit a library that has been used count on from the same
 *           number in the names of their inboxes, and so get each other's entries.
 * Practice: file storage; asynchronous publishing with up to 4,096 acknowledgements outstanding,
 *           which the library gathers into large writes, so that a batch is as many publishes
 *           (except for ping-pong, where each is sent at once); an ordered consumer, which the
 *           server pushes entries to. (natsSubscription_Fetch of libnats 3.4.1, for a pull
 *           consumer, corrupts its list of entries when its time-out is short.) Acknowledgements of
 *           this server do not wait for a sync of the file, so it is not asked for durable entries.
 * Needs:    pkg-config libnats
 * Packages: libnats-dev nats-server
 */
#include "bench/peer.h"
#include "bench/peer_server.h"

#include <dirent.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

#define PENDING_MAX 4096
#define STALL_MS 30000
#define URL_BYTES 64

struct client {
    natsConnection *connection;
    jsCtx *stream;
    natsSubscription *subscription;
    char subject[16];
};

static bool nats_missing(char *reason, size_t bytes)
{
    return peer_program_missing("nats-server", "nats-server", reason, bytes);
}

/* nats://127.0.0.1:PORT from the file that the server writes into its run directory. */
static bool url_find(const struct peer_job *job, char *url)
{
    DIR *directory = opendir(job->run_directory);
    char path[PATH_MAX + 300];
    char text[512] = "";
    bool found = false;

    for (struct dirent *entry = directory ? readdir(directory) : NULL; entry && !found;
         entry = readdir(directory)) {
        if (!strstr(entry->d_name, ".ports")) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", job->run_directory, entry->d_name);
        FILE *file = fopen(path, "re");
        const size_t bytes = file ? fread(text, 1, sizeof text - 1, file) : 0;
        text[bytes] = '\0';
        const char *begin = strstr(text, "nats://");
        found = begin && sscanf(begin, "%63[^\"]", url) == 1;
        if (file) {
            fclose(file);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return found;
}

static bool nats_ready(const struct peer_server *server, const struct peer_job *job)
{
    char url[URL_BYTES];

    return peer_server_printed(server, "Server is ready") && url_find(job, url);
}

static int nats_fail(const struct peer_end *end, natsStatus status, const char *what)
{
    return peer_fail_because(end, what, natsStatus_GetText(status));
}

static natsStatus connection_make(struct client *client, const char *url, bool at_once)
{
    natsOptions *options = NULL;

    natsStatus status = natsOptions_Create(&options);
    if (status == NATS_OK) {
        status = natsOptions_SetURL(options, url);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetSendAsap(options, at_once);
    }
    if (status == NATS_OK) {
        status = natsConnection_Connect(&client->connection, options);
    }
    natsOptions_Destroy(options);
    return status;
}

static int end_open(struct peer_end *end)
{
    struct client *client = calloc(1, sizeof *client);
    char url[URL_BYTES];
    jsOptions options;

    if (!client || !url_find(end->job, url)) {
        free(client);
        return peer_fail(end, -ENOENT, "looking for the server");
    }
    end->state = client;
    snprintf(client->subject, sizeof client->subject, "bench-%u", end->channel);
    natsStatus status = connection_make(client, url, end->job->shape == PEER_PING);
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = PENDING_MAX;
    options.PublishAsync.StallWait = STALL_MS;
    if (status == NATS_OK) {
        status = natsConnection_JetStream(&client->stream, client->connection, &options);
    }
    return status != NATS_OK ? nats_fail(end, status, url) : 0;
}

static void end_close(struct peer_end *end)
{
    struct client *client = end->state;

    natsSubscription_Destroy(client->subscription);
    jsCtx_Destroy(client->stream);
    natsConnection_Destroy(client->connection);
    free(client);
}

static natsStatus stream_make(const struct client *client)
{
    const char *subjects[] = {client->subject};
    jsStreamConfig config;

    jsStreamConfig_Init(&config);
    config.Name = client->subject;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    return js_AddStream(NULL, client->stream, &config, NULL, NULL);
}

/* Of all channels. Were it left to sender and receiver, the server would sometimes refuse one of
 * two that ask for the same stream at once. */
static int streams_make(struct peer_job *job)
{
    const unsigned channels = job->shape == PEER_PING ? 2 : 1;
    int result = 0;

    for (unsigned channel = 0; channel < channels && result == 0; channel++) {
        struct peer_end end = {.job = job, .channel = channel};
        result = end_open(&end);
        if (result == 0) {
            const natsStatus status = stream_make(end.state);
            result = status != NATS_OK ? nats_fail(&end, status, "making a stream") : 0;
            end_close(&end);
        }
    }
    return result;
}

static int nats_open(struct peer_job *job)
{
    struct peer_server *server = calloc(1, sizeof *server);
    char path[PATH_MAX + 16];

    job->state = server;
    snprintf(path, sizeof path, "%s/nats.conf", job->run_directory);
    FILE *file = server ? fopen(path, "we") : NULL;
    if (!file) {
        perror(path);
        return -errno;
    }
    fprintf(file,
            "listen: \"127.0.0.1:-1\"\nports_file_dir: \"%s\"\n"
            "jetstream { store_dir: \"%s\", max_file_store: %llu }\n",
            job->run_directory, job->directory, (unsigned long long)job->settings->bytes_max);
    fclose(file);
    const char *const arguments[] = {"nats-server", "-c", path, NULL};
    const int result = peer_server_start(server, job, arguments, nats_ready);
    return result < 0 ? result : peer_apart(job, streams_make);
}

static void nats_close(struct peer_job *job)
{
    if (job->state) {
        peer_server_stop(job->state);
    }
    free(job->state);
}

static int nats_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct client *client = end->state;
    const size_t size = end->job->size;

    for (size_t i = 0; i < count; i++) {
        const natsStatus status =
            js_PublishAsync(client->stream, client->subject, entries + i * size, (int)size, NULL);
        if (status != NATS_OK) {
            return nats_fail(end, status, "js_PublishAsync");
        }
    }
    return 0;
}

static int nats_flush(struct peer_end *end)
{
    const struct client *client = end->state;
    const natsStatus status = js_PublishAsyncComplete(client->stream, NULL);
    natsMsgList failed = {0};

    if (status != NATS_OK) {
        return nats_fail(end, status, "js_PublishAsyncComplete");
    }
    js_PublishAsyncGetPendingList(&failed, client->stream);
    const int left = failed.Count;
    natsMsgList_Destroy(&failed);
    return left > 0 ? peer_fail_because(end, "publishing", "some were not acknowledged") : 0;
}

static int nats_receiver_open(struct peer_end *end)
{
    jsSubOptions options;
    const int result = end_open(end);

    if (result < 0) {
        return result;
    }
    struct client *client = end->state;
    jsSubOptions_Init(&options);
    options.Stream = client->subject;
    options.Ordered = true;
    natsStatus status = js_SubscribeSync(&client->subscription, client->stream, client->subject,
                                         NULL, &options, NULL);
    if (status == NATS_OK) {
        status = natsSubscription_SetPendingLimits(client->subscription, -1, -1);
    }
    return status != NATS_OK ? nats_fail(end, status, "subscribing") : 0;
}

static int nats_receive(struct peer_end *end)
{
    const struct client *client = end->state;
    natsMsg *message = NULL;
    const natsStatus status =
        natsSubscription_NextMsg(&message, client->subscription, PEER_WAIT_MS);

    if (status == NATS_TIMEOUT) {
        return 0;
    }
    if (status != NATS_OK) {
        return nats_fail(end, status, "natsSubscription_NextMsg");
    }
    peer_take(end, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message));
    natsMsg_Destroy(message);
    return 0;
}

const struct peer peer_nats = {.name = "nats",
                               .keeps = "page cache",
                               .pings = true,
                               .missing = nats_missing,
                               .open = nats_open,
                               .close = nats_close,
                               .sender_open = end_open,
                               .send = nats_send,
                               .flush = nats_flush,
                               .sender_close = end_close,
                               .receiver_open = nats_receiver_open,
                               .receive = nats_receive,
                               .receiver_close = end_close};
