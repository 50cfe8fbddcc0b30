/*
 * Proves that mail comes in order and once, that its owner may sleep on the descriptor without
 * missing any while several threads post, and that mail which was taken may be posted again.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>

#include "broker/mailbox.h"

enum { POSTERS = 4, POSTS = 20000, ROUNDS = 20000, WAIT_MS = 20000 };

static bool readable(const struct mailbox *mailbox, int timeout_ms)
{
    struct pollfd look = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    return poll(&look, 1, timeout_ms) == 1;
}

Test(mailbox, empty_one_has_nothing_and_does_not_wake)
{
    struct mailbox mailbox;
    cr_assert_eq(mailbox_init(&mailbox), 0);
    cr_expect_null(mailbox_take(&mailbox));
    cr_expect_not(mailbox_pending(&mailbox));
    cr_expect_not(readable(&mailbox, 0));
    mailbox_deinit(&mailbox);
}

Test(mailbox, mail_comes_in_order_and_once)
{
    struct mailbox mailbox;
    struct mail mails[3] = {
        {.kind = MAIL_CLIENT_ATTACH}, {.kind = MAIL_LANE_ATTACH}, {.kind = MAIL_STOP}};
    cr_assert_eq(mailbox_init(&mailbox), 0);
    for (int i = 0; i < 3; i++) {
        mailbox_post(&mailbox, &mails[i]);
        cr_expect(mailbox_pending(&mailbox));
        cr_expect(readable(&mailbox, 0));
    }
    const struct mail *mail = mailbox_take(&mailbox);
    for (int i = 0; i < 3; i++, mail = mail->next) {
        cr_assert_eq(mail, &mails[i]);
    }
    cr_expect_null(mail);
    cr_expect_not(mailbox_pending(&mailbox));
    cr_expect_not(readable(&mailbox, 0));
    cr_expect_null(mailbox_take(&mailbox));
    mailbox_deinit(&mailbox);
}

Test(mailbox, mail_that_was_taken_may_be_posted_again)
{
    struct mailbox mailbox;
    struct mail mail = {.kind = MAIL_STOP};
    cr_assert_eq(mailbox_init(&mailbox), 0);
    for (int round = 0; round < 3; round++) {
        mailbox_post(&mailbox, &mail);
        cr_expect(readable(&mailbox, 0));
        cr_expect_eq(mailbox_take(&mailbox), &mail);
        cr_expect_null(mail.next);
        cr_expect_not(readable(&mailbox, 0));
    }
    mailbox_deinit(&mailbox);
}

Test(mailbox, no_descriptor_is_an_error_and_leaves_nothing)
{
    struct mailbox mailbox;
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    const int error = mailbox_init(&mailbox);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_expect_eq(error, -EMFILE);
    mailbox_deinit(&mailbox);
}

struct numbered_mail {
    struct mail mail; /* first, so that one is the other */
    int poster;
    int number;
};

struct poster {
    struct mailbox *mailbox;
    struct numbered_mail mails[POSTS];
};

static void *post_all(void *argument)
{
    struct poster *poster = argument;
    for (int i = 0; i < POSTS; i++) {
        mailbox_post(poster->mailbox, &poster->mails[i].mail);
    }
    return NULL;
}

Test(mailbox, owner_that_sleeps_misses_nothing_of_several_posters, .timeout = 600)
{
    static struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    int next[POSTERS] = {0};
    struct mailbox mailbox;
    cr_assert_eq(mailbox_init(&mailbox), 0);
    for (int at = 0; at < POSTERS; at++) {
        posters[at].mailbox = &mailbox;
        for (int i = 0; i < POSTS; i++) {
            posters[at].mails[i].poster = at;
            posters[at].mails[i].number = i;
        }
        cr_assert_eq(pthread_create(&threads[at], NULL, post_all, &posters[at]), 0);
    }
    for (int taken = 0; taken < POSTERS * POSTS;) {
        cr_assert(readable(&mailbox, WAIT_MS), "asleep although %d pieces are missing",
                  POSTERS * POSTS - taken);
        for (struct mail *mail = mailbox_take(&mailbox); mail != NULL; mail = mail->next) {
            const struct numbered_mail *numbered = (const struct numbered_mail *)mail;
            cr_assert_eq(numbered->number, next[numbered->poster]);
            next[numbered->poster]++;
            taken++;
        }
    }
    for (int at = 0; at < POSTERS; at++) {
        pthread_join(threads[at], NULL);
    }
    cr_expect_null(mailbox_take(&mailbox));
    mailbox_deinit(&mailbox);
}

struct ends {
    struct mailbox there;
    struct mailbox back;
};

static void *echo(void *argument)
{
    struct ends *ends = argument;
    for (int round = 0; round < ROUNDS; round++) {
        struct mail *mail;
        while ((mail = mailbox_take(&ends->there)) == NULL) {
            readable(&ends->there, -1);
        }
        mailbox_post(&ends->back, mail);
    }
    return NULL;
}

/* Each side sleeps between any two pieces: one lost wake would be the end of it. */
Test(mailbox, one_piece_goes_to_and_fro, .timeout = 600)
{
    struct ends ends;
    struct mail mail = {.kind = MAIL_STOP};
    pthread_t thread;
    cr_assert_eq(mailbox_init(&ends.there), 0);
    cr_assert_eq(mailbox_init(&ends.back), 0);
    cr_assert_eq(pthread_create(&thread, NULL, echo, &ends), 0);
    for (int round = 0; round < ROUNDS; round++) {
        mailbox_post(&ends.there, &mail);
        while (mailbox_take(&ends.back) == NULL) {
            cr_assert(readable(&ends.back, WAIT_MS));
        }
    }
    pthread_join(thread, NULL);
    mailbox_deinit(&ends.there);
    mailbox_deinit(&ends.back);
}
