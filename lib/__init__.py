"""How the data flows, and which room holds what.

A spec says what determines a run. Running it trains a network and leaves a record. Records of an experiment become
curves; measures turn curves into one number a seed; claims judge those numbers by rules; figures, pages and widgets
show both; chapters put them side by side; the build makes a site of the chapters.

    spec -> runs -> record -> curves -> measures -> claims -> figures, pages, widgets -> chapters -> site

From the ground up (a room imports only from rooms above its own line here):

    errors       the two ways things go wrong, and the checks that say so before work starts
    files        writing a file whole, or not at all
    quantities   formulas that work on any arrays
    specs        what determines a run, its canonical form and its ranges
    records      the files that runs leave: their arrays, format, finding, reading
    data         CIFAR-10, the embedded images, Gaussian regression
    fast         the same numbers sooner: compiled twins of formulas, behind one switch
    norms        BatchNorm, its noisy variant, l_p norms
    models       VGG, a residual network, deep linear networks
    paper        what the paper says: experiments, curves, measures, claims, the ledger
    theory       theorems and proofs of section 4 and appendix C, checked
    probes       measurements at one point of training, on any network
    runs         training, what it stores, making and replaying records, sweeps
    figures      curves as pictures, with words for those who cannot see them
    pages        captions, badges, tables: the only HTML
    widgets      what computes in the browser
    bench        what it costs beside the usual way
    build        chapters executed, the site, its references
    cli          the command line

Reading stands apart from running: `records`, `paper`, `figures` and `pages` import neither torch nor numba.
"""
