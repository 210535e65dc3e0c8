// The web app and its slots, as equal twins: a slot inherits nothing from the site. The image, the
// app settings and the traffic rules are left out on purpose: they are Slipway's, or the app's own,
// and a template that names them puts the old ones back with every deployment.

@description('Name of the site; its host is NAME.azurewebsites.net.')
param siteName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Resource id of the plan.')
param planId string

@description('Slots that take turns with each other. Production is the site itself and is not listed.')
param slotNames array

@description('Path that the platform asks on every instance; the readiness path of apps.yaml. Anything but 200 to 299, a redirect too, takes the instance out of service.')
param healthCheckPath string

@description('Pins each client to one instance by cookie. Off: a canary is judged by requests that spread over all instances. An app that keeps its state in memory needs it, SignalR without WebSocket-only clients too.')
param clientAffinity bool

@description('Names of app settings that stay with their slot in a swap. Never SLIPWAY_RELEASE or OTEL_RESOURCE_ATTRIBUTES: they travel with the image.')
param stickySettingNames array

@description('Resource id of the subnet that outgoing traffic goes through. Empty: none.')
param subnetId string

// The same for production and every slot.
var settings = {
  alwaysOn: true
  http20Enabled: true
  minTlsVersion: '1.2'
  scmMinTlsVersion: '1.2'
  ftpsState: 'Disabled'
  remoteDebuggingEnabled: false
  webSocketsEnabled: true
  healthCheckPath: healthCheckPath
  acrUseManagedIdentityCreds: true // each slot pulls with its own identity
  httpLoggingEnabled: true // keeps the container's log, which Slipway shows when a start fails
  detailedErrorLoggingEnabled: true
  requestTracingEnabled: true
}

// All that goes out, the pull of the image too.
var throughNetwork = {
  allTraffic: !empty(subnetId)
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_17: users are browsers, which have no client certificates
  // checkov:skip=CKV_AZURE_13: who may sign in is the app's own business; a site with this sign-in refuses a swap with preview
  // checkov:skip=CKV_AZURE_222: users reach the site from the internet
  // checkov:skip=CKV_AZURE_212: the number of instances is the plan's, two and more by autoscale
  name: siteName
  location: location
  tags: tags
  kind: 'app,linux,container'
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    serverFarmId: planId
    reserved: true // Linux
    httpsOnly: true
    clientAffinityEnabled: clientAffinity
    publicNetworkAccess: 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    outboundVnetRouting: throughNetwork
    siteConfig: settings
  }
}

// One after another: the platform refuses a second change of a site while one is under way.
@batchSize(1)
resource slots 'Microsoft.Web/sites/slots@2025-03-01' = [
  for slotName in slotNames: {
    // checkov:skip=CKV_AZURE_17: as the site
    // checkov:skip=CKV_AZURE_13: as the site
    // checkov:skip=CKV_AZURE_222: users whom traffic rules send to a slot come from the internet, too
    // checkov:skip=CKV_AZURE_212: as the site
    parent: site
    name: slotName
    location: location
    tags: tags
    kind: 'app,linux,container'
    identity: {
      type: 'SystemAssigned'
    }
    properties: {
      serverFarmId: planId
      reserved: true
      httpsOnly: true
      clientAffinityEnabled: clientAffinity
      publicNetworkAccess: 'Enabled'
      virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
      outboundVnetRouting: throughNetwork
      siteConfig: settings
    }
  }
]

resource stickyNames 'Microsoft.Web/sites/config@2025-03-01' = {
  // checkov:skip=CKV_AZURE_13: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_63: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_65: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_66: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_80: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_88: a list of names, no web configuration
  // checkov:skip=CKV_AZURE_222: a list of names, no web configuration
  parent: site
  name: 'slotConfigNames'
  properties: {
    appSettingNames: stickySettingNames
  }
  dependsOn: [
    slots
  ]
}

// No password opens the back door: neither FTP nor the deployment service takes one.
resource siteFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource siteDeployment 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

resource slotFtp 'Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies@2025-03-01' = [
  for (slotName, index) in slotNames: {
    parent: slots[index]
    name: 'ftp'
    properties: {
      allow: false
    }
  }
]

resource slotDeployment 'Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies@2025-03-01' = [
  for (slotName, index) in slotNames: {
    parent: slots[index]
    name: 'scm'
    properties: {
      allow: false
    }
  }
]

@description('Resource id of the site.')
output siteId string = site.id

@description('Name of the site.')
output siteName string = site.name

@description('Host that users call.')
output hostName string = site.properties.defaultHostName

@description('Principal id of production.')
output sitePrincipalId string = site.identity.principalId

@description('Principal ids of the slots, in the order of their names.')
output slotPrincipalIds array = [for (slotName, index) in slotNames: slots[index].identity.principalId]
