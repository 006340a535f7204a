window.nostr = {
  getPublicKey: async () => "ab".repeat(32),
  signEvent: async () => {
    throw new Error("this extension never signs");
  },
};
